//! Shells that scripts start, and what bash 5.2 passes to them: each value is what a program of its name printed.

use importers::launcher::{Launcher, read};

/// The TP degree of a script in which that degree follows `@T`, a program with its flags, or `@F`, the flags;
/// what a refusal says otherwise.
fn degree(script: &str) -> Result<u32, String> {
    let flags = "--bf16 --micro-batch-size 1 --tensor-model-parallel-size";
    let text = script.replace("@T", &format!("torchrun a.py {flags}")).replace("@F", flags);
    let found = read(Launcher::Megatron, &text).map_err(|error| error.message)?;
    found.tensor.ok_or_else(|| "none".to_owned())
}

/// Every script is of the degree beside it; 0 = it is refused, with the variable's name.
fn check(table: &[(&str, u32)]) {
    for (script, wanted) in table {
        match degree(script) {
            Ok(found) => assert_eq!(found, *wanted, "{script}"),
            Err(message) => assert!(*wanted == 0 && message.contains('$'), "{script}: {message}"),
        }
    }
}

/// The shell of the script expands a command line, and what its double quotes hold; another one gets the rest.
#[test]
fn variables_given_to_other_shells_are_theirs_alone() {
    check(&[
        ("TP=4\ndocker run --gpus all -e TP=2 img bash -c \"@T $TP\"", 4),
        ("TP=4\ndocker run --gpus all -e TP=2 img bash -c '@T $TP'", 2),
        ("TP=4\npodman run --env=TP=8 img \\\n bash -c \"cd /x; echo \\\"a b\\\"; @T \\$TP\"", 8),
        ("export TP=4\ndocker run -e TP img bash -c '@T ${TP:-2}'", 4),
        ("TP=4\ndocker run -e TP=$TP img bash -c '@T ${TP:-2}'", 4),
        ("E=(-e TP=2 -e PP=1)\nTP=4\ndocker run \"${E[@]}\" img bash -c '@T $TP'", 2),
        ("export TP=4\napptainer exec --env TP=2,PP=3 img bash -c '@T $TP'", 2),
        ("export TP=4\napptainer exec img bash -c '@T ${TP:-2}'", 4),
        ("export TP=4\nsingularity exec --cleanenv img bash -c '@T ${TP:-2}'", 2),
        ("TP=4\nmpirun -x TP=2 -np 4 @T $TP", 4),
        ("TP=4\nmpirun -x TP=2 -np 4 bash -c '@T $TP'", 2),
        ("TP=4\nenv TP=2 @T $TP", 4),
        ("TP=4\nenv TP=2 bash -c '@T $TP'", 2),
        ("TP=4\nTP=2 bash -c '@T $TP'", 2),
        ("export TP=4\nsrun --export=ALL,TP=2 bash -c '@T $TP'", 2),
        ("TP=4\nbash -c 'PP=1; @T '\"$TP\"' --sequence-parallel'", 4),
        ("bash -c '@T \"$1\"' _ 4", 4),
        ("bash -c 'torchrun a.py \"$@\"' _ @F 4", 4),
        ("TP=4\nC=\"@T $TP\"\nTP=8\neval \"$C\"", 4),
        ("TP=4\neval \"TP=2\"\n@T $TP", 2),
        ("TP=4\nbash -c \"export TP=2; bash -c '@T \\$TP'\"", 2),
        ("TP=4\necho TP=8\n@T $TP", 4),
    ]);
}

#[test]
fn variables_that_are_not_exported_stay_in_their_shell() {
    check(&[
        ("TP=4\nbash -c '@T ${TP:-2}'", 2),
        ("export TP=4\nbash -c '@T ${TP:-2}'", 4),
        ("TP=4\nexport TP\nbash -c '@T ${TP:-2}'", 4),
        ("declare -x TP=4\nbash -c '@T ${TP:-2}'", 4),
        ("set -a\nTP=4\nset +a\nbash -c '@T ${TP:-2}'", 4),
        ("export TP=4\nexport -n TP\nbash -c '@T ${TP:-2}'", 2),
        ("export TP=4\nenv -i bash -c '@T ${TP:-2}'", 2),
        ("export TP=4\ndocker run img bash -c '@T ${TP:-2}'", 2),
        ("export TP=4\nssh host '@T ${TP:-2}'", 2),
        ("TP=4\nssh host \"@T ${TP:-2}\"", 4),
        ("export TP=4\nsudo bash -c '@T ${TP:-8}'", 8),
        ("export TP=4\nsudo -E bash -c '@T ${TP:-8}'", 4),
        ("export TP=4\nsrun --export=NONE bash -c '@T ${TP:-8}'", 8),
        // They may hold the variable.
        ("TP=2\ndocker run --env-file x.env img bash -c '@T ${TP:-4}'", 0),
        ("TP=2\ndocker run $DOCKER_ARGS img bash -c '@T ${TP:-4}'", 0),
        ("[ $X ] && export TP=4\nbash -c '@T ${TP:-2}'", 0),
        ("TP=4\nbash -c '@T $TP'", 0),
    ]);
}

#[test]
fn here_documents_are_expanded_by_one_shell_or_the_other() {
    check(&[
        ("TP=4\nbash <<EOT\nTP=2\n@T $TP\nEOT", 4),
        ("TP=4\nbash <<'EOT'\nTP=2\n@T $TP\nEOT", 2),
        ("TP=4\nbash <<'EOT'\n@T ${TP:-2}\nEOT", 2),
        ("TP=4\nssh host bash <<EOT\nTP=8\n@T $TP\nEOT", 4),
        ("TP=4\ncat <<EOF | bash\nTP=2\n@T $TP\nEOF", 4),
        ("TP=4\ncat > run.sh <<EOF\nTP=2\n@T $TP\nEOF\nbash run.sh", 4),
        ("TP=4\ncat > run.sh <<'EOF'\nTP=2\n@T $TP\nEOF\nbash run.sh", 2),
        ("TP=4\ncat <<EOF > run.sh\nTP=2\n@T \\$TP\nEOF\nTP=8\nchmod +x run.sh\n./run.sh", 2),
        ("cat <<'EOF' > run.sh\n@T ${TP:-2}\nEOF\nTP=8 bash run.sh", 8),
        ("cat <<'EOF' > run.sh\n@T ${TP:-2}\nEOF\nexport TP=8\nsbatch --nodes=2 run.sh", 8),
        ("cat <<'EOF' > run.sh\n@T ${TP:-2}\nEOF\nTP=8\nsource run.sh", 8),
        ("cat <<'EOF' > run.sh\nTP=$1; shift\n@T $TP $@\nEOF\nbash run.sh 4 --swiglu", 4),
        ("TP=4\nsbatch <<EOF\n#SBATCH -N 2\nTP=2\nsrun bash -c '@T $TP'\nEOF", 4),
        ("TP=4\ntee run.sh <<EOF\n@T $TP\nEOF\nTP=8\nbash run.sh", 4),
        // Who runs it, and with what, is not known.
        ("export TP=4\ncat <<'EOF' > run.sh\n@T ${TP:-2}\nEOF", 0),
    ]);
}

#[test]
fn all_words_of_a_declaration_are_expanded_before_it_sets_any() {
    check(&[
        ("A=1\nexport A=4 B=$A\n@T $B", 1),
        ("A=1\ndeclare A=4 B=$A\n@T $B", 1),
        ("A=1\nA=4 B=$A\n@T $B", 4),
        ("export A=1; export A=4; export B=$A\n@T $B", 4),
    ]);
}

/// What `#SBATCH` lines state has its value, whatever the default; what Slurm sets otherwise has none.
#[test]
fn variables_of_slurm_are_those_of_its_batch() {
    let of = |head: &str, value: &str, wanted: u32| {
        let script = format!("#!/bin/bash\n#SBATCH {head}\n\nsrun @T {value}");
        check(&[(&script, wanted)]);
    };
    of("--nodes=2 --ntasks-per-node=4", "${SLURM_NTASKS:-16}", 8);
    of("--nodes=2\n#SBATCH --ntasks-per-node=4", "${SLURM_NTASKS_PER_NODE:-16}", 4);
    of("-N2", "${SLURM_NNODES:-1}", 2);
    of("-N 2", "${SLURM_NTASKS:-8}", 8);
    of("-N 2-4", "${SLURM_JOB_NUM_NODES:-1}", 0);
    of("-J a", "${SLURM_JOB_NUM_NODES:-2}", 1);
    of("--ntasks=16", "${SLURM_NNODES:-2}", 0);
    of("-N 2 -n 16", "$((SLURM_NTASKS / SLURM_NNODES))", 8);
    of("--gres=gpu:a100:8", "${SLURM_GPUS_ON_NODE:-4}", 8);
    of("-N 2 --gpus=8", "${SLURM_GPUS_ON_NODE:-4}", 0);
    of("--gpus-per-node=4", "${SLURM_GPUS_PER_NODE:-8}", 4);
    of("--array=0-7", "${SLURM_ARRAY_TASK_ID:-1}", 0);
    of("-J a", "${SLURM_ARRAY_TASK_ID:-1}", 1);
    check(&[
        ("srun @T ${SLURM_NTASKS:-8}", 8),
        ("sbatch <<'EOF'\n#!/bin/bash\n#SBATCH -N 2\nsrun @T ${SLURM_NNODES:-1}\nEOF", 2),
        ("#SBATCH -N 2\nsrun -N1 bash -c '@T ${SLURM_NNODES:-4}'", 0),
        ("#SBATCH -N 2\nsrun bash -c '@T ${SLURM_NNODES:-4}'", 2),
        ("#SBATCH -N 2\ndocker run img bash -c '@T ${SLURM_NNODES:-4}'", 4),
    ]);
}

#[test]
fn arrays_have_their_elements() {
    check(&[
        ("A=(@F=\"4\" --pipeline-model-parallel-size=\"1\")\ntorchrun a.py \"${A[@]}\"", 4),
        ("A=(@F='4' --seed='1')\ntorchrun a.py \"${A[@]}\"; echo done", 4),
        ("A=(@F 4)\n(torchrun a.py \"${A[@]}\")", 4),
        ("T=(4 8)\n@T $T", 4),
        ("T=(4 8)\n@T ${T}", 4),
        ("A=(@F 4)\ntorchrun a.py \"${A[@]}\"", 4),
        ("A=(@F 4)\ntorchrun a.py ${A[*]}", 4),
        ("i=1\nT=(2 4 8)\n@T ${T[i]}", 4),
        ("i=1\nT=(2 4 8)\n@T ${T[$i + 1]}", 8),
        ("T=(2 4)\nT+=8\n@T $T", 0),
        ("declare -A T=([a]=2 [b]=4)\nM=b\n@T ${T[$M]}", 4),
        ("declare -A T=( [\"a\"]=\"2\" [\"b\"]=\"4\" )\nM=b\n@T ${T[\"$M\"]}", 4),
        ("declare -A T\nT[a]=2\nT[\"b\"]=4\nT[a]=8\n@T ${T[a]}", 8),
        ("declare -A T=([a]=2)\n@T ${T[c]:-8}", 8),
        ("declare -A T=([a]=2)\n@T ${T[$M]}", 0),
        ("T=(4)\nexport T\nbash -c '@T ${T:-2}'", 2),
    ]);
    // Its first element is one flag.
    assert!(degree("A=(@F 4)\ntorchrun a.py $A").unwrap_err().contains("runs no command"));
}

#[test]
fn conditions_and_cases_are_those_of_bash() {
    check(&[
        ("readonly T=2\nT=4\n@T $T", 0),
        ("T=2\nreadonly T\nT=4\n@T $T", 0),
        ("declare -r T=2\n@T $T", 2),
        ("T=8\ncase ab in a*) T=1;;& *b) T=4;; esac\n@T $T", 4),
        ("T=8\ncase ab in\na*) P=1\n;;&\n*c) T=1 ;;&\n*b) T=4 ;;\n*) T=2;;\nesac\n@T $T", 4),
        ("T=8\ncase ab in a*) P=1;& z) T=4;; esac\n@T $T", 0),
        ("shopt -s nocasematch\nT=8\ncase LLAMA in llama) T=4;; esac\n@T $T", 4),
        ("shopt -s nocasematch\nM=LLAMA\nT=8\n[[ $M == llama ]] && T=4\n@T $T", 4),
        ("shopt -s nocasematch\nM=LLAMA\nT=8\n[ $M = llama ] && T=4\n@T $T", 8),
        ("M=llama-70b\nT=8\nif [[ $M == *70b ]]; then T=4; fi\n@T $T", 4),
        ("T=4\n@T ${T:?no}", 4),
        ("@T ${T:?no}", 0),
        ("if ! @T 4; then exit 1; fi", 4),
        ("A=5\n@T $((A > 4 ? 4 : 8))", 4),
        ("A=5\n(( A > 4 )) && T=4 || T=8\n@T $T", 4),
        ("A=3\n(( A > 4 )) && T=4 || T=8\n@T $T", 8),
        ("A=5\nT=1\nif (( A <= 4 )); then T=2; elif ((A==5&&1)); then T=4; fi\n@T $T", 4),
        ("N=3\nT=1\n(( N % 2 == 0 )) || T=4\n@T $T", 4),
        ("T=2\nif (( T = 4 )); then P=1; fi\n@T $T", 0),
        ("T=4\n[ 1 = 2 ] && @T 8\n@T $T", 4),
        ("T=1 && T=4 || T=8\n@T $T", 4),
        ("[ $X ] && T=4 || T=8\n@T $T", 0),
    ]);
}
