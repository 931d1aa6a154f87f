#!/bin/bash
# Runs the test suites over what is already built and ends with a table of them.
#
#   scripts/test.sh all                 what `make test` runs
#   scripts/test.sh sanitizer asan      the suite on build/asan (or tsan)
#   scripts/test.sh soak                load tests at full length
#   scripts/test.sh NAME...             some suites: unit grammar python node6 node7 distributed
#                                       crash load streams
#
# Environment: CAIRN_BIN, the server of the client, crash and load suites (default: build/dev/cairn for
# the clients, whose scenarios need fault injection, and build/release/cairn for the others);
# CAIRN_TEST_MODEL, a model file to serve instead of the built-in one.
# CI=true turns a skipped suite into a failure.
# shellcheck disable=SC2317 # the suites are functions that suite() calls by name
set -u
cd "$(dirname "$0")/.." || exit 1
export PYTHONDONTWRITEBYTECODE=1
JOBS=${JOBS:-$(nproc)}
PRESET=dev
SUITES_BIN=${CAIRN_BIN:-}
SUMMARY=()
FAILED=0

# suite NAME COMMAND...: runs it, keeps one line for the summary. Exit code 77 means "skipped".
suite() {
        local name=$1 start=$SECONDS code
        shift
        echo
        echo "=== $name"
        "$@"
        code=$?
        if [ $code -eq 77 ] && [ "${CI:-}" != true ]; then
                SUMMARY+=("$(printf '%-11s SKIPPED  %4ds  *** NOT TESTED: its packages could not be fetched ***' "$name" $((SECONDS - start)))")
        elif [ $code -eq 0 ]; then
                SUMMARY+=("$(printf '%-11s passed   %4ds' "$name" $((SECONDS - start)))")
        else
                SUMMARY+=("$(printf '%-11s FAILED   %4ds' "$name" $((SECONDS - start)))")
                FAILED=1
        fi
}

unit_suite() {
        ctest --test-dir "build/$PRESET" -j "$JOBS" --output-on-failure --timeout 600 | grep -v ' Passed '
        return "${PIPESTATUS[0]}"
}

# The Python environment of the suites, made once for each content of the requirements.
venv() {
        local wanted=tests/clients/python/requirements.txt made=build/venv/requirements.txt
        cmp -s "$wanted" "$made" && return 0
        python3 -m venv build/venv &&
                build/venv/bin/pip install -q --disable-pip-version-check -r "$wanted" &&
                cp "$wanted" "$made" && return 0
        echo "*** the Python packages of the client suite could not be installed" >&2
        return 77
}

# The npm packages of the Node suite, in build/node. package.json names @modelcontextprotocol/client, which
# @openai/agents cannot be loaded without, because npm leaves out an optional package that wants a newer Node
# than the system's.
node_packages() {
        local from=tests/clients/node to=build/node
        cmp -s "$from/package-lock.json" "$to/installed.json" && return 0
        mkdir -p "$to"
        cp "$from/package.json" "$from/package-lock.json" "$from/.npmrc" "$to" &&
                (cd "$to" && npm ci --no-audit --no-fund --loglevel=error) &&
                cp "$from/package-lock.json" "$to/installed.json" && return 0
        echo "*** the npm packages of the client suite could not be installed" >&2
        return 77
}

python_suite() {
        venv || return
        CAIRN_BIN=${SUITES_BIN:-build/dev/cairn} build/venv/bin/python -m pytest -q -p no:cacheprovider \
                tests/clients/python "$@"
}

# Grammars against Python's validator and regular expressions.
grammar_suite() {
        venv || return
        CAIRN_GRAMMAR_SAMPLE=build/$PRESET/grammar_sample build/venv/bin/python -m pytest -q -p no:cacheprovider \
                tests/grammar
}

# The suite's own Node 22 from npm where there is one for this machine, else the system's.
node_suite() {
        local package=$1 node
        node_packages || return
        node=$(find build/node/node_modules -path '*/node-linux-*/bin/node' | head -n 1)
        CAIRN_BIN=${SUITES_BIN:-build/dev/cairn} OPENAI_PACKAGE=$package \
                "${node:-node}" --test --test-reporter=spec tests/clients/node/*.test.mjs
}

# Migration, several servers on one database, and the clients' suite, on PostgreSQL and S3.
distributed_suite() {
        venv || return
        CAIRN_BIN=${SUITES_BIN:-build/dev/cairn} python3 tests/lib/distributed.py build/venv/bin/python -m pytest -q \
                -p no:cacheprovider tests/distributed tests/clients/python
}

crash_suite() {
        CAIRN_BIN=${SUITES_BIN:-build/release/cairn} python3 tests/crash/crash_test.py
}

load_suite() {
        CAIRN_BIN=${SUITES_BIN:-build/release/cairn} python3 tests/load/load_test.py "$@"
}

run_suite() {
        case $1 in
        unit) suite unit unit_suite ;;
        grammar) suite grammar grammar_suite ;;
        python) suite python python_suite ;;
        node6) suite node6 node_suite openai6 ;;
        node7) suite node7 node_suite openai ;;
        distributed) suite distributed distributed_suite ;;
        crash) suite crash crash_suite ;;
        load) suite load load_suite ;;
        streams) suite streams load_suite --no-memory ;;
        *)
                echo "test: unknown suite '$1'" >&2
                exit 2
                ;;
        esac
}

mode=${1:-all}
case $mode in
all) set -- unit grammar python node6 node7 distributed crash load ;;
sanitizer)
        PRESET=$2
        SUITES_BIN=$PWD/build/$PRESET/cairn
        export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:abort_on_error=0
        export UBSAN_OPTIONS=print_stacktrace=1
        export TSAN_OPTIONS=suppressions=$PWD/tests/tsan.supp:history_size=4:second_deadlock_stack=1
        set -- unit grammar python crash streams
        ;;
soak)
        suite soak load_suite --full
        set --
        ;;
esac
for name in "$@"; do
        run_suite "$name"
done

echo
echo "=== summary"
printf '%s\n' "${SUMMARY[@]}"
exit $FAILED
