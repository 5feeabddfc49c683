#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# migrate_kill.sh - `kill -9` at one call after another of an apply that takes over an instance with
# other layouts of maps: whoever is connected stays so, whoever comes is served, and the next apply
# ends it. Without --full the longer series are sampled, from a random start.
# hooks: tc xdp
# only: full
# limit: 2400
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/lib_kill.sh
. "$E2E/lib_kill.sh"

AT_MOST=14 # turns of one series
[[ ${TEST_FULL:-0} != 1 ]] || AT_MOST=100000
old=$MESHLB
variant altered include/lb_abi.h "$(<"$E2E/altered.sed")"
altered=$LAB_DIR/altered/build/meshlb

# A connection of each family, made under the old build: $H4 and $H6, $ID4 and $ID6.
begin() { # NAME
	MESHLB=$old
	[[ ! -e $PINS ]] || lab_meshlb down >/dev/null
	apply >/dev/null
	H4=$1-4 H6=$1-6
	ID4=$(hold_open "$H4" 4)
	ID6=$(hold_open "$H6" 6)
	MESHLB=$altered
}

lives() { # WHEN
	equal "$1: the held IPv4 connection" "$(ask_held "$H4")" "$ID4"
	equal "$1: the held IPv6 connection" "$(ask_held "$H6")" "$ID6"
	ask 4 >/dev/null || fail "$1: a new IPv4 connection is not served"
	ask 6 >/dev/null || fail "$1: a new IPv6 connection is not served"
}

lab_topology direct 2
lab_nginx r1 r2
lab_service vote '*:8080' 80 | lab_config >"$CONFIG"
undone=0
for call in bpf renameat unlinkat munmap; do
	begin "$call"
	number=$(calls_of "$call" apply -f "$CONFIG")
	step "$number times $call"
	lives 'not killed'
	for n in $(turns "$number"); do
		begin "$call-$n"
		kill_at "$call" "$n" apply -f "$CONFIG"
		lives "killed at $call $n"
		[[ ! -e $PINS/next ]] || undone=$((undone + 1))
		expect 0 apply
		lives "after repair ($call $n)"
		expect 0 verify
		[[ ! -e $PINS/next ]] || fail "after repair ($call $n): $(ls "$PINS/next") is left"
	done
done
((undone > 0)) || fail 'no kill came while it was taken over'

step 'and back to the build that made it'
begin back
kill_at renameat 1 apply -f "$CONFIG"
MESHLB=$old
expect 0 apply
lives 'after an apply of the old build'
expect 0 verify
[[ ! -e $PINS/next ]] || fail "$(ls "$PINS/next") is left"
