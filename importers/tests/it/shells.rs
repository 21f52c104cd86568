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
        ("T=(2 4)\nT+=8\n@T $T", 28),
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
        ("T=8\ncase ab in a*) P=1;& z) T=4;; esac\n@T $T", 4),
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
        ("T=2\nif (( T = 4 )); then P=1; fi\n@T $T", 4),
        ("T=4\n[ 1 = 2 ] && @T 8\n@T $T", 4),
        ("T=1 && T=4 || T=8\n@T $T", 4),
        ("[ $X ] && T=4 || T=8\n@T $T", 0),
    ]);
}

#[test]
fn functions_run_where_they_are_called() {
    check(&[
        ("run() { \"$@\" 4; }\nrun @T", 4),
        ("f() { TP=$1; shift; @T $TP \"$@\"; }\nf 4 --swiglu", 4),
        ("f() { local TP=8; @T $1; }\nTP=4\nf $TP", 4),
        ("f() { local TP=8; }\nTP=4\nf\n@T $TP", 4),
        ("f() { TP=8; return; TP=2; }\nf\n@T $TP", 8),
        ("f() { return 1; }\nTP=2\nf || TP=4\n@T $TP", 4),
        ("f() { echo 4; }\n@T $(f)", 4),
        ("f() ( TP=8 )\nTP=4\nf\n@T $TP", 4),
        ("f() { @T $1; }\nexport -f f\nbash -c 'f 4'", 4),
        ("f() { [ -z \"$X\" ] && return; TP=4; }\nTP=2\nf\n@T $TP", 0),
        ("set -- 2 4 8\nshift\n@T $1", 4),
        (
            "set -- a --tp 4\nwhile [ $# -gt 0 ]; do case $1 in --tp) TP=$2; shift 2;; *) shift;; esac; done\n@T $TP",
            4,
        ),
    ]);
}

#[test]
fn loops_run_turn_by_turn() {
    check(&[
        ("TP=1\nfor i in 1 2; do TP=$((TP * 2)); done\n@T $TP", 4),
        ("for i in {1..4}; do TP=$i; done\n@T $TP", 4),
        ("for i in $(seq 2 2 8); do [ $i = 4 ] && break; done\n@T $i", 4),
        ("for ((TP = 1; TP * 2 <= 4; TP *= 2)); do :; done\n@T $TP", 4),
        ("TP=1\nwhile (( TP < 4 )); do (( TP *= 2 )); done\n@T $TP", 4),
        ("TP=1\nuntil [ $TP -ge 4 ]; do let TP+=1; done\n@T $TP", 4),
        ("for TP in 2 4 8; do if [ $TP = 2 ]; then continue; fi; break; done\n@T $TP", 4),
        ("while true; do @T 4 && break; sleep 1; done", 4),
        ("for h in a b; do ssh $h \"@T 4\" & done; wait", 4),
        ("TP=2\nfor h in $HOSTS; do TP=4; done\n@T $TP", 0),
        ("TP=2\nwhile read -r l; do TP=4; done < f\n@T $TP", 0),
        ("i=0\nwhile true; do i=$((i+1)); [ -f x ] && break; done\n@T $i", 0),
    ]);
}

#[test]
fn values_are_cut_and_replaced() {
    check(&[
        ("M=llama-tp4\n@T ${M##*tp}", 4),
        ("M=4x7b\n@T ${M%%x*}", 4),
        ("M=a/b-4\n@T ${M##*-}", 4),
        ("M=tp_4\n@T ${M/tp_/}", 4),
        ("M=1,2,3,4\nN=${M//[^,]/}\n@T $((${#N} + 1))", 4),
        ("M=abc4\n@T ${M:3}", 4),
        ("M=a4b\n@T ${M:1:1}", 4),
        ("M=a4\n@T ${M: -1}", 4),
        ("A=(1 2 4)\n@T ${A[-1]}", 4),
        ("A=(1 2 4 8)\n@T ${#A[@]}", 4),
        ("N=TP\nTP=4\n@T ${!N}", 4),
        ("M=LLAMA\n[[ ${M,,} == llama ]] && TP=4\n@T $TP", 4),
        ("N=0,1,2,3\nTP=$(echo $N | tr ',' '\\n' | wc -l)\n@T $TP", 4),
        ("IFS=, read -r A TP <<< 2,4\n@T $TP", 4),
        ("printf -v TP %d 4\n@T $TP", 4),
        ("declare -i TP=2*2\n@T $TP", 4),
        ("TP=$(basename /a/4.sh .sh)\n@T $TP", 4),
        ("read -r -d '' A <<'E'\n@F 4\nE\ntorchrun a.py $A", 4),
    ]);
}

#[test]
fn what_a_test_decides_is_what_runs() {
    check(&[
        ("TP=2\n[ a = a ] && [ b = c ] || TP=4\n@T $TP", 4),
        ("TP=2\nif ! [ a = b ] && [[ a == a || b == c ]]; then TP=4; fi\n@T $TP", 4),
        ("TP=2\nif [[ ! ( a == b ) && 4 -gt 3 ]]; then TP=4; fi\n@T $TP", 4),
        ("[[ llama-4 =~ -([0-9]+)$ ]] && TP=${BASH_REMATCH[1]}\n@T $TP", 4),
        ("TP=2\nfalse\nif [ $? -ne 0 ]; then TP=4; fi\n@T $TP", 4),
        ("TP=4\nif [ -f x ]; then echo no; exit 1; fi\n@T $TP", 4),
        ("TP=4\nmkdir -p /tmp || { TP=8; exit 1; }\n@T $TP", 4),
        ("@T 4\nexit\n@T 8", 4),
        ("TP=2\ncase a in a) TP=4;; esac | cat\n@T $TP", 2),
        ("TP=4\n{ TP=8; } &\n@T $TP", 4),
        ("TP=2\n{ TP=4; } 2>/dev/null\n@T $TP", 4),
        ("A=(@F 4)\nif ! torchrun a.py \"${A[@]}\"; then exit 1; fi", 4),
        ("set -e\nTP=4\n[ a = b ] && TP=2\n@T $TP", 4),
        ("TP=$([ 4 -gt 2 ] && echo 4 || echo 8)\n@T $TP", 4),
    ]);
}

#[test]
fn scripts_that_are_written_run_as_they_are() {
    check(&[
        ("echo '@T 4' > r.sh\nbash r.sh", 4),
        ("printf '@T %d\\n' 4 > r.sh\nbash r.sh", 4),
        ("{ echo TP=4; echo '@T $TP'; } > r.sh\nbash r.sh", 4),
        ("echo TP=4 > e.sh\nsource e.sh\n@T $TP", 4),
        ("echo '@T 4' | bash", 4),
        ("bash <(echo '@T 4')", 4),
        ("echo TP=4 > .env\nexport $(cat .env | xargs)\n@T $TP", 4),
        ("cat > r.sh <<'E'\n@T 8\nE\ncat > r.sh <<'E'\n@T 4\nE\nbash r.sh", 4),
        ("ssh h bash -s -- 4 <<'E'\n@T $1\nE", 4),
        ("sbatch --wrap '@T 4'", 4),
        ("cat > r.sh <<'E'\n@T $TP\nE\nexport TP; TP=4; bash r.sh", 4),
    ]);
    assert!(
        degree("echo TP=4 > e.sh\nsed -i s/4/8/ e.sh\nsource e.sh\n@T $TP")
            .unwrap_err()
            .contains("source e.sh")
    );
}

/// Lines behind the end of a command that has flags are no flags of it.
#[test]
fn flags_behind_the_end_of_a_command_are_left_out() {
    check(&[
        ("@T 4 \\\n --lr 1\n --tensor-model-parallel-size 8", 4),
        ("@T 4 \\\n # --lr 1\n --tensor-model-parallel-size 8", 4),
    ]);
}

/// Scripts that never end, or grow without end, are refused by what they cost.
#[test]
fn endless_scripts_are_bounded() {
    let deep = |open: &str, close: &str| {
        format!("A={}4{}\n@T $A", open.repeat(100_000), close.repeat(100_000))
    };
    for script in [
        "f() { f; }\nf\n@T 4".to_owned(),
        ":() { : | : & }\n:\n@T 4".to_owned(),
        "A='eval \"$A\"'\neval \"$A\"\n@T 4".to_owned(),
        "cat > r.sh <<'E'\nbash r.sh; bash r.sh\nE\nbash r.sh\n@T 4".to_owned(),
        format!("A=x\n{}@T 4", "A=$A$A\n".repeat(60)),
        format!("A=(x)\n{}@T 4", "A=(\"${A[@]}\" \"${A[@]}\")\n".repeat(60)),
        deep("$(", ")"),
        deep("$((", "))"),
        deep("${A:-", "}"),
        deep("\"$(echo ", ")\""),
        format!("{}@T 4{}", "( ".repeat(100_000), " )".repeat(100_000)),
        format!("{}@T 4;{}", "if true; then ".repeat(50_000), " fi;".repeat(50_000)),
        format!("[[ {}a ]]\n@T 4", "! ".repeat(100_000)),
        format!("A={}", "$(( ".repeat(120) + &" ) )".repeat(120)),
    ] {
        let shown: String = script.chars().take(60).collect();
        let message = degree(&script).unwrap_err();
        assert!(
            ["with more than", "nested deeper", "parse"].iter().any(|part| message.contains(part)),
            "{shown} {message}"
        );
    }
    check(&[
        ("for i in {1..1000000000}; do A=$i; done\n@T 4", 4),
        ("for ((i = 0; i < 1000000000; i++)); do :; done\n@T 4", 4),
        ("for i in {1..300}; do for j in {1..300}; do A=$i$j; done; done\n@T 4", 4),
    ]);
}
