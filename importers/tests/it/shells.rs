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
        ("readonly T=2\nT=4\n@T $T", 2),
        ("T=2\nreadonly T\nT=4\n@T $T", 2),
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
    check(&[("echo TP=4 > e.sh\nsed -i s/4/8/ e.sh\nsource e.sh\n@T $TP", 8)]);
    assert!(
        degree("echo TP=4 > e.sh\nsed -i 's/4|5/8/' e.sh\nsource e.sh\n@T $TP")
            .unwrap_err()
            .contains("source e.sh")
    );
}

/// What `set -e` looks at, and the status of loops and functions.
#[test]
fn statuses_are_those_of_bash() {
    check(&[
        ("set -e\nn=0\nwhile [ $n -lt 2 ]; do n=$((n+1)); done\n@T $((n*2))", 4),
        ("set -e\nTP=4\nwhile getopts t: o; do TP=$OPTARG; done\n@T $TP", 4),
        ("set -e\nwhile read -r x; do TP=$x; done <<< 4\n@T $TP", 4),
        ("set -e\nfor i in 1 2; do [ $i = 1 ] && TP=4; done\n@T $TP", 4),
        ("set -e\n{ [ a = b ] && TP=8; }\n@T 4", 4),
        ("set -e\nx=$(false; echo 4)\n@T $x", 4),
        ("set -e\nf() { echo 2; false; echo 4; }\nTP=$(f | tail -1)\n@T $TP", 4),
        ("TP=4\nn=0\nwhile [ $n -lt 2 ]; do n=$((n+1)); done && TP=8\n@T $TP", 8),
        ("TP=4\nf() { while [ $# -gt 0 ]; do TP=$1; shift; done; }\nf 8 || TP=2\n@T $TP", 8),
        ("while false; do :; done\n@T $((4 + $?))", 4),
        ("TP=2\nfor i in 1; do false; done || TP=4\n@T $TP", 4),
        ("TP=2\nf() { if [ $? -ne 0 ]; then TP=4; fi; }\nfalse\nf\n@T $TP", 4),
        ("TP=2\nf() { return; }\nfalse\nf || TP=4\n@T $TP", 4),
        ("TP=2\nexpr 0 > /dev/null || TP=4\n@T $TP", 4),
        ("set -o pipefail\nTP=2\nfalse | tee log || TP=4\n@T $TP", 4),
        ("set -o pipefail\nif echo A | grep H | cat; then TP=8; else TP=4; fi\n@T $TP", 4),
        ("shopt -s lastpipe\nTP=2\necho tp 4 | while read -r k v; do TP=$v; done\n@T $TP", 4),
        ("trap 'TP=4' ERR\nTP=2\nfalse\n@T $TP", 4),
        ("TP=4\ntrap 'TP=8' USR1\nkill -USR1 $$\n@T $TP", 8),
        ("run() { @T 4; }\ntrap run EXIT", 4),
        ("cd /work && TP=4 && @T $TP", 4),
        ("cd /work && TP=4\n@T $TP", 0),
    ]);
    for script in ["set -e\nfalse | true\nfalse\n@T 4", "kill $$\n@T 4", "set -n\n@T 4"] {
        assert!(degree(script).unwrap_err().contains("runs no command"), "{script}");
    }
    let two = degree("set -e\n@T 4\nn=0\nwhile [ $n -lt 1 ]; do n=1; done\n@T 8");
    assert!(two.unwrap_err().contains("2 launch commands"));
}

/// `[ ]` has its own grammar.
#[test]
fn words_of_tests_are_parted_as_in_bash() {
    check(&[
        ("TP=4\nif [ ! -z x -a $TP -gt 8 ]; then TP=8; fi\n@T $TP", 4),
        ("TP=4\nif [ ! $TP = 4 -o $TP -gt 1 ]; then TP=8; fi\n@T $TP", 8),
        ("TP=4\nif [ \\( $TP = 2 -o $TP = 4 \\) -a -n $TP ]; then TP=8; fi\n@T $TP", 8),
        ("TP=4\nif [ $TP = 4 -a \\( 1 -eq 2 -o 2 -eq 2 \\) ]; then TP=8; fi\n@T $TP", 8),
        ("TP=4\nif [ ! x -a '' ]; then TP=8; fi\n@T $TP", 8),
        ("TP=2\n[[ -v BIG ]] && TP=4\n@T $TP", 0),
        ("TP=${BIG:+4}\n@T ${TP:-2}", 0),
    ]);
}

/// What is read from files is known where the script wrote it, and nothing else could change it.
#[test]
fn files_are_those_of_their_folders() {
    check(&[
        ("TP=$(<tp.txt)\n@T ${TP:-2}", 0),
        ("echo 4 > tp.txt\n@T $(<tp.txt)", 4),
        ("echo 4 > n\nmkdir -p a; cd a; echo 8 > n; cd ..\n@T $(cat n)", 4),
        ("echo 4 > n\nmkdir a; pushd a; echo 8 > n; popd\n@T $(cat n)", 4),
        ("mkdir w\ncat > w/r.sh <<E\n@T 4\nE\ncat > r.sh <<E\n@T 8\nE\ncd w\nbash r.sh", 4),
        ("echo 4 > n\npython3 -c \"open('n','w').write('8')\"\n@T $(cat n)", 0),
        ("echo 4 > n\necho 8 | dd of=n\n@T $(cat n)", 0),
        ("mkdir o; echo 4 > o/c; rm -r o\n@T $(cat o/c)", 0),
        ("echo 4 > c.env; mv *.env old/\n@T $(cat c.env)", 0),
        ("set -- 4\necho 'set -- 8' > a.sh\n. ./a.sh\n@T $1", 8),
        ("set -- 4\necho 'set -- 8' > a.sh\n. ./a.sh x\n@T $1", 8),
        ("set -- 4\necho 'shift' > a.sh\n. ./a.sh x\n@T $1", 4),
        ("F=(shards/*.bin)\n@T ${#F[@]}", 0),
        ("@T $(printf '%s\\n' shards/*.bin | wc -l)", 0),
        ("F=\"a*b\"\n@T 4 --data-path $F *.x", 4),
        ("A[0]=2; unset A[0]\n@T ${A[0]:-4}", 4),
        ("TP=$(grep '^tp:' c.yaml | cut -d: -f2 | xargs)\n@T ${TP:-2}", 0),
        ("cat <<'E' > a.sh\n@T ${1:-2}\nE\nxargs -n1 bash a.sh <<< 4", 4),
        ("printf '%s\\n' 4 | xargs -I{} @T {}", 4),
    ]);
    let warned = |script: &str| {
        let text = script.replace("@T", "torchrun a.py --bf16 --tensor-model-parallel-size");
        read(Launcher::Megatron, &text).map_or(true, |found| !found.not_judged.is_empty())
    };
    for script in [
        "TP=2\nexport $(cat .env | xargs)\n@T $TP",
        "TP=2\nwhile IFS== read -r k v; do declare \"$k=$v\"; done < f\n@T $TP",
        "TP=2\nwhile IFS== read -r k v; do printf -v \"$k\" %s \"$v\"; done < f\n@T $TP",
        "echo 4 > n\nbash tool.sh\n@T $(cat n)",
        "echo TP=4 > c\npython3 gen.py\nsource c\n@T $TP",
    ] {
        assert!(warned(script), "{script}");
    }
}

/// `#SBATCH` lines are those of the script that `sbatch` starts, behind its own words.
#[test]
fn lines_of_batches_are_behind_the_words_of_sbatch() {
    let job = "cat > j.sh <<'E'\n#!/bin/bash\n#SBATCH --nodes=2\n#SBATCH --ntasks-per-node=4\n@T $SLURM_NNODES\nE\n";
    let tasks = job.replace("SLURM_NNODES", "SLURM_NTASKS");
    check(&[
        (&format!("{job}sbatch j.sh"), 2),
        (&format!("{job}sbatch -N 4 j.sh"), 4),
        (&format!("{job}sbatch --nodes=8 j.sh"), 8),
        (&format!("{tasks}sbatch --nodes=1 j.sh"), 4),
        (&format!("#!/bin/bash\n#SBATCH -N 8\n{job}srun bash j.sh"), 8),
        ("#!/bin/bash\n#SBATCH -N 4\n #SBATCH -N 2\n@T $SLURM_NNODES", 4),
        ("#SBATCH -N 2\nTP=2\n[ -n \"${SLURM_JOB_ID:-}\" ] && TP=4\n@T $TP", 4),
        ("#SBATCH --gpus-per-node=h100:4\n@T ${SLURM_GPUS_PER_NODE##*:}", 4),
        ("#SBATCH -N 2 --ntasks-per-node=4\n@T ${SLURM_TASKS_PER_NODE%%(*}", 4),
        ("export TP=2 APPTAINERENV_TP=4\napptainer exec i.sif bash -c '@T $TP'", 4),
        ("export TP=2\nSINGULARITYENV_TP=4 singularity exec i.sif bash -c '@T $TP'", 4),
    ]);
}

/// Filters of known text, in their usual forms.
#[test]
fn filters_print_what_they_do() {
    check(&[
        ("@T $(echo tp4 | sed 's/tp//')", 4),
        ("@T $(echo a_tp4_b | sed -E 's/.*tp([0-9]+).*/\\1/')", 4),
        ("@T $(echo a_tp4_b | sed 's/.*tp\\([0-9]*\\).*/\\1/')", 4),
        ("@T $(printf '2\\n4\\n' | sed -n 2p)", 4),
        ("@T $(echo 'tp 4' | awk '{print $2}')", 4),
        ("@T $(echo 'tp=4' | awk -F= '{print $2}')", 4),
        ("D=0,1,2,3\n@T $(awk -F, '{print NF}' <<< $D)", 4),
        ("@T $(echo tp4 | tr -d a-z)", 4),
        ("@T $(echo tp4 | tr -dc '0-9')", 4),
        ("@T $(echo tp4 | grep -o '[0-9]')", 4),
        ("@T $(printf 'a\\nb\\na\\na\\na\\n' | grep -c a)", 4),
        ("TP=2\ngrep -q tp4 <<< x-tp4 && TP=4\n@T $TP", 4),
        ("TP=2\nif echo A100 | grep -qiE 'h100|a100'; then TP=4; fi\n@T $TP", 4),
        ("@T $(printf '8\\n4\\n16\\n' | sort -n | head -1)", 4),
        ("echo 'tp: 4' > c\n@T $(grep tp c | cut -d: -f2)", 4),
        ("printf '4\\n8\\n' > n\n@T $(head -n 1 n)", 4),
        (
            "O=$(getopt -o t: --long tp: -- \"$@\")\neval set -- \"$O\"\nTP=4\nwhile true; do case $1 in -t) TP=$2; shift 2;; --) shift; break;; esac; done\n@T $TP",
            4,
        ),
        ("mapfile A <<< 4\n@T ${A[0]}", 4),
        ("@T $(expr 010 - 6)", 4),
        ("@T $(echo '012 - 8' | bc)", 4),
        ("@T $(dirname /4 | wc -c)", 2),
        ("declare -u S=7b\ncase $S in 7B) TP=4;; *) TP=8;; esac\n@T $TP", 4),
        ("declare -l S=7B\n[[ $S == 7b ]] && TP=4 || TP=8\n@T $TP", 4),
        ("readonly TP=4\nf() { local TP=8; @T $TP; }\nf", 4),
    ]);
    for script in ["A=\"@F '4'\"\ntorchrun a.py $A", "@T \"${TP:-'8'}\"", "TP=4\r\n@T $TP\r\n"] {
        degree(script).unwrap_err();
    }
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
        (&format!("{}@T 4", "cd a\n".repeat(100_000)), 4),
        ("for i in {1..1000000000}; do A=$i; done\n@T 4", 4),
        ("for ((i = 0; i < 1000000000; i++)); do :; done\n@T 4", 4),
        ("for i in {1..300}; do for j in {1..300}; do A=$i$j; done; done\n@T 4", 4),
    ]);
}

/// An empty pattern is found at the end that is stated, and nowhere without one.
#[test]
fn empty_patterns_add_at_an_end() {
    check(&[
        ("TP=6\n@T ${TP/#/1}", 16),
        ("TP=1\n@T ${TP/%/6}", 16),
        ("E=\nTP=6\n@T ${TP/#$E/1}", 16),
        ("TP=16\n@T ${TP//}", 16),
        ("E=\nTP=16\n@T ${TP/$E/9}", 16),
    ]);
}
