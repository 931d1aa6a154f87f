#!/bin/sh
# `make check`: everything about the source that can be said without running it. Every check runs even
# when an earlier one failed, so that one call names all that is wrong.
# shellcheck disable=SC2317 # the checks are functions that step() calls by name
set -u
cd "$(dirname "$0")/.." || exit 1
status=0

step() {
        title=$1
        shift
        start=$(date +%s)
        if "$@"; then
                echo "check: $title: ok ($(($(date +%s) - start)) s)"
        else
                echo "check: $title: FAILED" >&2
                status=1
        fi
}

format() {
        find src tests -name '*.[ch]' -print0 | xargs -0 clang-format --dry-run -Werror
}

python_lint() {
        find contract models scripts src tests tools -name '*.py' -print0 | xargs -0 pyflakes3
}

shell_lint() {
        find .ci/run models scripts tests tools \( -name '*.sh' -o -path .ci/run \) -print0 | xargs -0 shellcheck
}

# Generated includes, and warnings as errors: the build is a check of its own.
compile() {
        if [ ! -f build/dev/build.ninja ]; then
                cmake --preset dev >build/check-configure.log 2>&1 || { cat build/check-configure.log; return 1; }
        fi
        cmake --build build/dev -j "$(nproc)" >build/check-compile.log 2>&1 || {
                grep -v '^\[' build/check-compile.log
                return 1
        }
}

mkdir -p build
step "clang-format" format
step "source rules" python3 tools/check_src.py
step "python" python_lint
step "shell" shell_lint
step "compile, warnings are errors" compile
step "headers compile alone" python3 tools/check_headers.py build/dev
step "clang-tidy" python3 tools/tidy.py build/dev
exit $status
