# What tests/run and .ci/run have in common: they run stages, one line of output for each, and count.
#
# A stage that fails shows the end of its log and keeps no later stage from running; the last lines of a run name what
# failed. What cannot run is skipped by name and with the reason, never in silence: with CI=true a skipped stage fails
# the run, unless allowed_skips names it. Sourced by bash, in the top folder.

passed=0 failed=0 skipped=0
skips=()
failures=()
allowed_skips=()
left_out= # What a run leaves out that was asked to, for its last line.
logs=${CARGO_TARGET_DIR:-target}/logs
mkdir -p "$logs"

# stage NAME COMMAND [ARGUMENT...]: runs the command without a terminal.
stage() {
    local name=$1 log=$logs/$1.log began=$SECONDS counts verdict=ok
    shift
    if "$@" >"$log" 2>&1 </dev/null; then
        counts=$(count "$log" 0)
    else
        verdict=FAILED
        counts=$(count "$log" 1)
    fi
    read -r p f s <<<"$counts"
    if [ "$f" != 0 ]; then verdict=FAILED; fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    if [ "$p$f$s" = 000 ]; then counts=; else counts="$p passed, $f failed, $s skipped"; fi
    printf '%-7s  %-28s %4d s  %s\n' "$verdict" "$name" $((SECONDS - began)) "$counts"
    while IFS= read -r line; do skips+=("$line"); done < <(skipped_in "$log" "$name")
    if [ "$verdict" = ok ]; then return 0; fi
    while IFS= read -r line; do failures+=("$line"); done < <(failed_in "$log" "$name")
    tail -n "${DATASTREAM_TAIL:-60}" "$log" | sed 's/^/    | /'
    echo "    the whole log: $log"
    return 1
}

# skip NAME REASON: says that something cannot run.
skip() {
    printf '%-7s  %-28s %4d s  %s\n' skipped "$1" 0 "$2"
    skipped=$((skipped + 1))
    skips+=("$1: $2")
}

# Counts what a log says was run: tests of cargo, PASS and FAIL lines, the last line of a script like these. A test
# that says it was skipped has passed for cargo. A stage that fails without naming a test is one failure; a run of
# cargo's tests that ran none has failed.
count() {
    awk -v status="$2" '
        /^test result:/ { p += $4; f += $6; s += $8; cargo = 1 }
        /^skipped: / { said++ }
        /^PASS / { p++ }
        /^FAIL / { f++ }
        /^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/ { p += $1; f += $3; s += $5 }
        END {
            if (status != 0 && f == 0) f = 1
            if (cargo) { p -= said; s += said }
            if (cargo && p + f == 0) f = 1
            print p + 0, f + 0, s + 0
        }' "$1"
}

# The names of what was skipped inside a stage.
skipped_in() {
    sed -n -e 's/^skipped: //p' -e "s/^test \(.*\) \.\.\. ignored.*/$2: \1 is ignored/p" "$1"
}

# What failed inside a stage, one line each: a test of cargo with the place and the first line of its panic, a FAIL line,
# what a script like these says. The stage itself if its log names nothing.
failed_in() {
    awk -v stage="$2" '
        function say(what) { print what; said = 1 }
        function ended() { if (test != "") say(stage ": " test (why == "" ? "" : ": " why)); test = why = "" }
        /^---- .* stdout ----$/ { ended(); test = $2 }
        test != "" && why == "" && /panicked at/ { sub(/.*panicked at /, ""); why = $0; getline; why = why " " $0 }
        /^failures:$/ { ended() }
        /^FAIL / { say(stage ": " substr($0, 6)) }
        /^failed: / { say(substr($0, 9)) }
        END { ended(); if (!said) print stage }' "$1" | cut -c 1-400
}

# need CHECK PACKAGE...: installs the packages with apt where the check fails. Fails if it still does.
need() {
    local check=$1
    shift
    if eval "$check" >/dev/null 2>&1; then return 0; fi
    {
        as_root apt-get install -y --no-install-recommends "$@" ||
            { as_root apt-get update && as_root apt-get install -y --no-install-recommends "$@"; }
    } >>"$logs/apt.log" 2>&1 </dev/null || true
    eval "$check" >/dev/null 2>&1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        DEBIAN_FRONTEND=noninteractive "$@"
    else
        sudo -n env DEBIAN_FRONTEND=noninteractive "$@"
    fi
}

# Prints what was skipped, what failed and what was counted, and exits.
finish() {
    local line name status=0
    if [ "$failed" != 0 ]; then status=1; fi
    for line in "${skips[@]}"; do
        echo "skipped: $line"
        name=${line%%:*}
        if [ "${CI:-}" = true ] && [[ " ${allowed_skips[*]} " != *" $name "* ]]; then
            echo "FAILED: with CI=true nothing is skipped but: ${allowed_skips[*]:-nothing}"
            status=1
        fi
    done
    for line in "${failures[@]}"; do echo "failed: $line"; done
    if [ ${#skips[@]} = 0 ]; then echo "nothing was skipped"; fi
    echo "$passed passed, $failed failed, $skipped skipped${left_out:+ ($left_out)}"
    exit $status
}
