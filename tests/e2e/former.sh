#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# former.sh - this build takes over from each ABI since LB_ABI_OLDEST what the last commit of that one
# left: the real one, built from the history. And the first commit of this ABI has the same layout.
# hooks: tc
# only: full
# limit: 1800
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# Whoever runs the tests need not own the clone.
history() { git -c safe.directory='*' "$@"; }
readonly ABI_FILE=include/lb_abi.h NOW=$MESHLB
number() { sed -n "s/^#define $1 *//p"; } # NAME
# ABI COMMIT of each that can be taken over, the newest first: the last one of it; and the first, where
# the layout was changed after that, which it should not have been.
commits() {
	local commit is before=$((abi + 1)) last=HEAD
	for commit in $(history log --format=%H -G'define LB_ABI_VERSION' -- $ABI_FILE); do
		is=$(history show "$commit:$ABI_FILE" | number LB_ABI_VERSION)
		((is >= oldest)) || break
		((is < before)) || continue
		((is == abi)) || echo "$is $last"
		# The oldest was made on several branches, and is one since they came together.
		((is == abi || is == oldest)) || history diff --quiet "$commit" "$last" -- $ABI_FILE || echo "$is $commit"
		before=$is last=$commit^
	done
}
build_of() { # COMMIT: in $LAB_DIR/former
	rm -rf "$LAB_DIR/former"
	mkdir "$LAB_DIR/former"
	history archive "$1" | tar -x -C "$LAB_DIR/former"
	make -s -C "$LAB_DIR/former" BUILD=build build >"$LAB_DIR/make.log" 2>&1 ||
		fail "$1: $(tail "$LAB_DIR/make.log")"
	MESHLB=$LAB_DIR/former/build/meshlb
}
is_open() { [[ $(states) == 'closing established established' ]]; }
states() { lab_meshlb -j conn ls | jq -r '[.connections[].state] | sort | join(" ")'; }

[[ $(history rev-parse --is-shallow-repository 2>/dev/null) == false ]] || skip 'no history here'
abi=$(number LB_ABI_VERSION <$ABI_FILE)
oldest=$(number LB_ABI_OLDEST <$ABI_FILE)
lab_topology direct 2
lab_nginx r1 r2
lab_service vote '*:8080' 80 | lab_config >"$CONFIG"
seen=''
while read -r was commit; do
	step "from ABI $was, $(history log -1 --format=%h "$commit")"
	build_of "$commit"
	expect 0 apply
	held4=$(hold_open "four$commit" 4)
	held6=$(hold_open "six$commit" 6)
	ask 4 >/dev/null
	lab_until 5 is_open
	MESHLB=$NOW
	expect 1 lab_meshlb status
	expect 0 apply
	expect_text "$ERR" "taken over from layout $was to $abi, with 3 connections"
	expect 0 verify
	equal 'states' "$(states)" 'closing established established'
	equal 'who answers, as before' "$(ask_held "four$commit") $(ask_held "six$commit")" "$held4 $held6"
	expect_alternation 4 4
	expect 0 lab_meshlb down
	seen+="$was "
done <<<"$(commits)"
equal 'ABIs' "$(tr ' ' '\n' <<<"$seen" | sort -nu | grep -c .)" $((abi - oldest))

step 'from the first commit of this ABI'
build_of "$(history log -1 --format=%H -G'define LB_ABI_VERSION' -- $ABI_FILE)"
expect 0 apply
MESHLB=$NOW
expect 0 lab_meshlb status
expect 0 apply
expect 0 verify
