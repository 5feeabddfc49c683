#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# elsewhere.sh - what stands beside an instance under its name: on another datapath where it cannot be
# opened, in another network namespace, or as a table that nobody can tell from somebody else's.
# hooks: nft
# guest: full
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

TABLE=meshlb_$LAB

lab_topology direct 2
lab_nginx r1 r2
{
	lab_service vote '*:8080' 80
	lab_service two '*:8081' 81
} | lab_config >"$CONFIG"
lab_service vote '*:8080' 80 | lab_config | sed 's/^datapath: .*/datapath: ebpf/' >"$LAB_DIR/ebpf.yaml"
lab_service vote '*:8080' 80 | lab_config | sed '/10.0.1.2/d' >"$LAB_DIR/less.yaml"
lab_service other '*:9090' 80 | lab_config | sed "/name: r[12],/d; s/name: eth0/name: lo/" >"$LAB_DIR/there.yaml"
there() { lab_in node2 "$MESHLB" --instance "$LAB" "$@"; }

step 'a change of datapath where the old one cannot be locked: refused, and nothing is changed'
expect 0 apply
# shellcheck disable=SC2016
expect 1 lab_in node1 unshare -m sh -c 'mount -t tmpfs -o ro none /run && exec "$@"' - \
	"$MESHLB" --instance "$LAB" apply -f "$LAB_DIR/ebpf.yaml"
expect_text "$ERR" '"/run/meshlb": Read-only file system'
[[ ! -e $PINS ]] || fail 'it has been made on ebpf'
expect 0 verify
expect_alternation 4 2

step 'two applies at once, to two datapaths: it is on one of them'
lab_in node1 strace -f -qq -o /dev/null -e trace=flock -e inject=flock:delay_enter=5000000:when=1 \
	"$MESHLB" --instance "$LAB" apply -f "$CONFIG" >"$LAB_DIR/out" 2>&1 & # after its look at ebpf
applies=$!
sleep 1
expect 0 lab_meshlb apply -f "$LAB_DIR/ebpf.yaml"
wait $applies || fail "the other one: $(<"$LAB_DIR/out")"
on=$(lab_meshlb -j status | jq -r .datapath) # that which came last
if [[ $on == nft ]]; then config=$CONFIG; else config=$LAB_DIR/ebpf.yaml; fi
expect 0 lab_meshlb verify -f "$config"
[[ $on == ebpf || ! -e $PINS ]] || fail 'it is on ebpf, too'
expect 0 apply

step 'in another network namespace one of its name waits for a confirm: neither touches the other'
expect 0 there apply -f "$LAB_DIR/there.yaml"
expect 0 lab_meshlb apply -f "$LAB_DIR/less.yaml" --confirm-timeout 6s
expect 0 there confirm
expect_text "$ERR" 'no change waits'
equal 'what waits there' "$(there -j status | jq -c .confirm)" null
expect 1 there apply -f <(sed 's/9090/9091/' "$LAB_DIR/there.yaml") --confirm-timeout 60s
expect_text "$ERR" 'waits for .meshlb confirm. in another network namespace'
expect 0 there apply -f <(sed 's/9090/9091/' "$LAB_DIR/there.yaml")
expect 0 there down
expect 0 lab_meshlb status
expect_text "$OUT" 'waits for .meshlb confirm. until '
went_back() { [[ $(lab_meshlb service ls) == *two* ]]; }
lab_until 10 went_back
expect 0 there apply -f "$LAB_DIR/there.yaml"
equal 'what became of it is nothing there' "$(there -j status | jq -c .confirm)" null
expect 0 there confirm
expect 0 there down
expect 0 lab_meshlb status
expect_text "$OUT" 'was not confirmed: it was undone at '
expect_alternation 4 2

step 'one of its name on ebpf in another network namespace: not in the way'
expect 0 there apply -f <(sed 's/^datapath: .*/datapath: ebpf/' "$LAB_DIR/there.yaml")
expect 0 lab_meshlb apply -f "$LAB_DIR/less.yaml"
expect 0 lab_meshlb verify -f "$LAB_DIR/less.yaml"
expect 0 lab_meshlb down
expect 0 there verify
expect 0 there down

step 'a table of its name that has lost all signs: it is named, and stays'
expect 0 apply
nft_in delete set inet "$TABLE" model
expect 0 lab_meshlb apply -f "$LAB_DIR/ebpf.yaml"
named="warning: instance \"$LAB\": there is a table \"inet $TABLE\" that meshlb has not made: remove it"
expect_text "$ERR" "$named"
expect 0 lab_meshlb verify -f "$LAB_DIR/ebpf.yaml"
expect_text "$ERR" "$named"
expect 0 lab_meshlb down
expect_text "$ERR" "$named"
nft_in list table inet "$TABLE" >/dev/null || fail 'it has been removed'
nft_in delete table inet "$TABLE"
