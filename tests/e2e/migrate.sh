#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# migrate.sh - a build with other layouts of maps takes an instance over while 10,000 connections
# and streams of datagrams carry data: nothing of it is lost. (One that does not: upgrade.sh.)
# hooks: tc
# full: xdp xdp-generic
# limit: 400
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/lib_pulse.sh
. "$E2E/lib_pulse.sh"

variant altered include/lb_abi.h "$(<"$E2E/altered.sed")"

connections() {
	lab_meshlb -j conn ls | jq -r '.connections[] | [.protocol, .client, .address, .backend, .state] | join(" ")' | sort
}
overrides() { lab_meshlb -j service show echo | jq -c '[.. | .override? // empty]'; }
opened() { lab_meshlb -j stats | jq '[.services[].connections] | add'; }

pulse_begin 5000 5000
{
	lab_service bound '*:7778' 7778 | sed 's/^    backends:/    affinity: 5m\n    max-connections: 3\n&/'
} >>"$CONFIG"
for ns in r1 r2; do
	lab_spawn "$ns" "$E2E/pulse.py" serve 7778
	lab_until 10 lab_listening "$ns" 7778
done
expect 0 apply
for address in $VIP4 $VIP6; do # a client of each family
	lab_in node2 python3 -c 'import socket, sys
socket.create_connection((sys.argv[1], 7778)).close()' "$address"
done
affinities() { lab_meshlb -j conn ls --affinity | jq -c '[.affinities[] | [.client, .backend, .state]] | sort'; }
affinities=$(affinities)
equal 'affinities' "$(jq 'map(select(.[2] == "affinity")) | length' <<<"$affinities")" 2
expect 0 lab_meshlb backend drain echo 10.0.2.2:7777
before=$(prog_ids)
overrides=$(overrides)
opened=$(opened)
connections >"$LAB_DIR/before"

step 'another layout'
abi=$(lab_meshlb -j version | jq .abi)
MESHLB=$LAB_DIR/altered/build/meshlb
expect 1 lab_meshlb status
expect_text "$ERR" 'meshlb apply. takes it over'
expect 0 apply
expect_text "$ERR" "taken over from layout $abi to 254, with 100[01][0-9] connections"
expect 0 verify
[[ $(prog_ids) != "$before" ]] || fail 'the programs are the same ones'
connections >"$LAB_DIR/after"
diff "$LAB_DIR/before" "$LAB_DIR/after" | head >&2
cmp "$LAB_DIR/before" "$LAB_DIR/after" || fail 'the connections are not the same ones'
equal affinities "$(affinities)" "$affinities"
equal overrides "$(overrides)" "$overrides"
expect_text "$overrides" '"weight":0' # of the drained one
equal 'connections counted' "$(opened)" "$opened"
[[ ! -e $PINS/next ]] || fail "left: $(ls "$PINS/next")"
expect 0 apply
expect_text "$OUT" 'no difference'
equal 'arrays of the slow way' "$(find "$PINS" -name 'slow-*' | wc -l)" 2

step 'and goes on'
sleep 3
pulse_end
