#!/bin/sh
# Writes the inputs that the tests replay (hex) as seeds for cargo-fuzz (bytes).
set -eu
cd "$(dirname "$0")/.."
seeds() {
    target=$1
    shift
    mkdir -p "fuzz/corpus/$target"
    for file in "$@"; do
        sed 's/#.*//' "$file" | xxd -r -p > "fuzz/corpus/$target/$(basename "$file" .hex)"
    done
}
seeds batch crates/protocol/tests/corpus/batch-*.hex crates/protocol/tests/golden/batch-*.hex
seeds chunk crates/store/src/cold/tests/corpus/*.hex crates/store/src/cold/tests/golden/chunk-*.hex
seeds rollup crates/store/src/cold/tests/corpus/*.hex crates/store/src/cold/tests/golden/rollup-*.hex
