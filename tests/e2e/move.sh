#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# move.sh - `apply --confirm-timeout` of another datapath: what is not confirmed goes back to the one
# before, with all that stood there, and what an operator has done by hand since.
# hooks: tc
# guest: full
# limit: 240
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

home=ebpf
[[ $HOOK == tc ]] || home=$HOOK
lab_topology direct 2
lab_nginx r1 r2
{
	[[ $HOOK != tc ]] || echo 'datapath: ebpf'
	{
		lab_service vote '*:8080' 80
		lab_service other '*:8081' 80
	} | lab_config
} >"$CONFIG"
{
	echo 'datapath: nft'
	lab_service vote '*:8080' 80 | HOOK=tc lab_config | sed 's/connections: 65536/connections: 70000/'
} >"$LAB_DIR/nft.yaml"
datapath() { lab_meshlb -j status | jq -r .datapath; }
is_on() { [[ $(datapath) == "$1" ]]; }
went_back() { [[ $(lab_meshlb -j status | jq -r .confirm.state) == undone ]]; }
overrides() { lab_meshlb -j status | jq -c '[.overrides[] | [.service, .address, .weight]]'; }

expect 0 apply
lab_meshlb backend drain vote 10.0.2.2:80 >/dev/null
lab_meshlb backend weight other 10.0.1.2:80 5 >/dev/null

step "from $home to nft, not confirmed"
expect 3 lab_meshlb verify -f "$LAB_DIR/nft.yaml"
expect_text "$OUT" '^~ defaults: .*limits'
expect 0 lab_meshlb apply -f "$LAB_DIR/nft.yaml" --confirm-timeout $((MOMENT - 1))s
expect_text "$OUT" "~ datapath $home -> nft"
expect_text "$OUT" '~ defaults: .*limits'
expect_text "$OUT" '- service other'
is_on nft || fail "it is on $(datapath)"
equal overrides "$(overrides)" '[["vote","10.0.2.2:80",0]]'
[[ $(ask 4) && $(ask 6) ]] || fail 'on nft nobody answers'
lab_meshlb backend undrain vote 10.0.2.2:80 >/dev/null
expect 1 lab_meshlb apply -f "$CONFIG"
expect_text "$ERR" 'waits for .meshlb confirm.'
lab_until 20 went_back
is_on "$home" || fail "it is on $(datapath)"
expect 0 verify
equal overrides "$(overrides)" '[["other","10.0.1.2:80",5]]'
expect_alternation 4 4
expect_alternation 6 4
[[ $(ask 4 "node1:8081") ]] || fail 'other is not there any more'
equal 'the table of nft' "$(lab_in node1 nft list tables | grep -c "meshlb_$LAB" || true)" 0

step 'the same, confirmed'
expect 0 lab_meshlb apply -f "$LAB_DIR/nft.yaml" --confirm-timeout 60s
expect 0 lab_meshlb confirm
is_on nft || fail "it is on $(datapath)"
expect 0 lab_meshlb verify -f "$LAB_DIR/nft.yaml"
expect_alternation 4 4

step "from nft to $home, not confirmed"
lab_meshlb backend drain vote 10.0.2.2:80 >/dev/null
expect 0 apply --confirm-timeout $((MOMENT - 1))s
expect_text "$OUT" "~ datapath nft -> $home"
[[ $(ask 4) && $(ask 4 "node1:8081") ]] || fail "on $home nobody answers"
lab_meshlb backend undrain vote 10.0.2.2:80 >/dev/null
lab_until 20 went_back
is_on nft || fail "it is on $(datapath)"
expect 0 lab_meshlb verify -f "$LAB_DIR/nft.yaml"
expect_alternation 4 4
[[ ! -e $PINS ]] || fail "left behind: $PINS"

step 'what is brought down while it waits stays down'
sed 's/scheduler: rr/scheduler: sh/' "$LAB_DIR/nft.yaml" >"$LAB_DIR/other.yaml"
for delay in 0 0.9 1; do
	lab_meshlb apply -f "$LAB_DIR/nft.yaml" >/dev/null
	expect 0 lab_meshlb apply -f "$LAB_DIR/other.yaml" --confirm-timeout 1s
	flock "/run/meshlb/$LAB.nft.lock" sleep 1.5 &
	sleep $delay
	expect 0 lab_meshlb down
	wait $!
	sleep 0.5
	expect 1 lab_meshlb status
	expect_text "$ERR" 'there is none'
	equal 'the table of nft' "$(lab_in node1 nft list tables | grep -c "meshlb_$LAB" || true)" 0
	rm -f "/run/meshlb/$LAB.nft.lock" # which flock has made again
done

step 'down in another network namespace, where the instance is not, leaves the change to its confirmation'
lab_meshlb apply -f "$LAB_DIR/nft.yaml" >/dev/null
expect 0 lab_meshlb apply -f "$LAB_DIR/other.yaml" --confirm-timeout $((MOMENT - 1))s
expect 0 lab_in node2 "$MESHLB" --instance "$LAB" down
expect_text "$OUT$ERR" 'there is none'
[[ $(lab_meshlb -j status | jq -r .confirm.state) == waiting ]] || fail 'nobody waits any more'
went_back_here() { [[ $(lab_meshlb service ls) == *' rr '* ]]; }
lab_until 20 went_back_here
expect 0 lab_meshlb verify -f "$LAB_DIR/nft.yaml"
