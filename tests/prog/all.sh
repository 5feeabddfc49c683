#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# all.sh - every program of tests/prog, one after another: for the guest, where a boot and the
# loading of programs take longer than most of them. Needs BUILD. Those that take long there and ask
# the kernel for nothing that the others do not: with TEST_FULL=1.
set -euo pipefail
cd "$(dirname "$0")/../.."

failed=()
for source in tests/prog/test_*.c; do
	name=$(basename "$source" .c)
	name=${name#test_}
	[[ ${TEST_FULL:-0} == 1 || ! $name =~ ^(affinity|blind|claims|drained|flood|former|rates)$ ]] || continue
	begin=$SECONDS
	echo "--- prog/$name"
	"$BUILD/${source%.c}" || [[ $? == 77 ]] || failed+=("prog/$name") # 77: skipped, as in tests/run
	echo "prog/$name: $((SECONDS - begin)) s"
done
((${#failed[@]} == 0)) || {
	echo "FAILED: ${failed[*]}"
	exit 1
}
