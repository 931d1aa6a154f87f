#!/bin/sh
# Every benchmark, one after the other: each prints its own table of ratios. A ratio is taken inside
# one run on one machine; do not compare the absolute figures of two runs.
set -eu
cd "$(dirname "$0")/.."
status=0
python3 tests/bench/bench_http.py || status=1
echo
python3 tests/bench/bench_streams.py || status=1
for name in store lists kernels; do
        program=build/release/bench_$name
        [ -x "$program" ] || continue
        echo
        "$program" || status=1
done
for name in store lists; do
        echo
        python3 tests/lib/postgres.py build/release/bench_$name || [ $? -eq 77 ] || status=1
done
echo
python3 tests/bench/bench_engine.py --alone --quick || status=1
exit $status
