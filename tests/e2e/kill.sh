#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kill.sh - `kill -9` at every bpf() and netlink call of an apply in turn, under traffic: all
# services are as before or all as after, and the next apply repairs; the same for a first apply
# and for `down`. Without --full the longer series are sampled, from a random start.
# hooks: tc
# full: xdp
# limit: 2400
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# shellcheck source=tests/e2e/lib_kill.sh
. "$E2E/lib_kill.sh"

AT_MOST=8 # turns of one series, others each time
[[ ${TEST_FULL:-0} != 1 ]] || AT_MOST=100000
readonly CALLS='bpf sendto sendmsg'

# vote stands in both; swap changes its replica, gone is only before, new only after. Each has a
# port of its own at the replicas: a client's port in use towards a replica's cannot be used again.
write_configs() {
	local v4=("${LAB_V4[@]}") v6=("${LAB_V6[@]}")
	only() { LAB_V4=("${v4[$1]}") LAB_V6=("${v6[$1]}"); }
	{
		lab_service vote '*:8080' 80
		only 0
		lab_service swap '*:8090' 81 wrr
		lab_service gone '*:8091' 82 maglev
	} | lab_config >"$LAB_DIR/before.yaml"
	LAB_V4=("${v4[@]}") LAB_V6=("${v6[@]}")
	{
		lab_service vote '*:8080' 80
		only 1
		lab_service swap '*:8090' 81 wrr
		lab_service new '*:8092' 83 maglev
	} | lab_config >"$LAB_DIR/after.yaml"
}

# What clients see of the services that differ.
state() { served_by 8090 8091 8092; }

readonly BEFORE='r1 r1 none' AFTER='r2 none r2' NOTHING='none none none'

kill_change() {
	local call n number seen
	declare -A outcomes=()
	for call in $CALLS; do
		lab_meshlb apply -f "$LAB_DIR/before.yaml" >/dev/null
		number=$(calls_of "$call" apply -f "$LAB_DIR/after.yaml")
		step "apply of a change: $number times $call"
		for n in $(turns "$number"); do
			lab_meshlb apply -f "$LAB_DIR/before.yaml" >/dev/null
			kill_at "$call" "$n" apply -f "$LAB_DIR/after.yaml"
			seen=$(state)
			[[ $seen == "$BEFORE" || $seen == "$AFTER" ]] ||
				fail "killed at $call $n: the services are neither before nor after: $seen"
			outcomes[$seen]=1
			lab_meshlb apply -f "$LAB_DIR/after.yaml" >/dev/null ||
				fail "killed at $call $n: the next apply fails"
			equal "after repair ($call $n)" "$(state)" "$AFTER"
			expect 0 lab_meshlb verify -f "$LAB_DIR/after.yaml"
		done
	done
	[[ -v outcomes[$BEFORE] ]] || fail 'no kill came before the change was in force'
}

kill_first() {
	local call n number seen
	for call in $CALLS; do
		[[ ! -e $PINS ]] || lab_meshlb down >/dev/null
		number=$(calls_of "$call" apply -f "$LAB_DIR/before.yaml")
		step "first apply: $number times $call"
		for n in $(turns "$number"); do
			lab_meshlb down >/dev/null
			kill_at "$call" "$n" apply -f "$LAB_DIR/before.yaml"
			seen=$(state)
			[[ $seen == "$NOTHING" || $seen == "$BEFORE" ]] ||
				fail "first apply killed at $call $n: neither nothing nor all: $seen"
			if ((n % 2)); then
				lab_meshlb down >/dev/null || fail "first apply killed at $call $n: down fails"
				[[ ! -e $PINS ]] || fail "left by down ($call $n): $(ls "$PINS")"
			fi
			lab_meshlb apply -f "$LAB_DIR/before.yaml" >/dev/null ||
				fail "first apply killed at $call $n: the next one fails"
			equal "after repair ($call $n)" "$(state)" "$BEFORE"
			expect 0 lab_meshlb verify -f "$LAB_DIR/before.yaml"
		done
	done
}

kill_down() {
	local call n number
	for call in bpf unlink unlinkat sendto; do
		lab_meshlb apply -f "$LAB_DIR/before.yaml" >/dev/null
		number=$(calls_of "$call" down)
		step "down: $number times $call"
		for n in $(turns "$number"); do
			lab_meshlb apply -f "$LAB_DIR/before.yaml" >/dev/null ||
				fail "apply after a killed down ($call $((n - 1)))"
			equal "after a killed down" "$(state)" "$BEFORE"
			kill_at "$call" "$n" down
			lab_meshlb down >/dev/null || fail "down killed at $call $n: the next one fails"
			[[ ! -e $PINS ]] || fail "down killed at $call $n: $(ls "$PINS") left by the next"
			equal "after down ($call $n)" "$(state)" "$NOTHING"
		done
	done
}

lab_topology direct 2
lab_nginx r1 r2
declare -A REPLICAS=([$(lab_id r1)]=r1 [$(lab_id r2)]=r2)
write_configs
lab_meshlb apply -f "$LAB_DIR/before.yaml"
equal before "$(state)" "$BEFORE"
held=$(hold_open h 4)
begin_traffic 8080
kill_change
end_traffic
equal 'the connection held all the time' "$(ask_held h)" "$held"
kill_first
kill_down
