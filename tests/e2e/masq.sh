#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# masq.sh - `forwarding: masq`: replicas without a route to the client answer, and a replica that is
# its own client; by service, also where one listens on an address and another on any.
# hooks: nft
# guest: ipvs full
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

lab_topology direct 2
lab_nginx r1 r2
for ns in r1 r2; do
	lab_in "$ns" ip -4 route del default
	lab_in "$ns" ip -6 route del default
	lab_spawn "$ns" "$E2E/udp_echo.py" serve 5300
	lab_until 5 lab_listening "$ns" 5300 udp
done
masq() { sed 's/^    backends:/    forwarding: masq\n&/'; }
write_config() { # FILTER-OF-EXACT FILTER-OF-ANY
	{
		lab_service vote '*:8080' 80 | masq
		lab_service exact "$VIP4:8081,[$VIP6]:8081" 80 | "$1"
		lab_service any '*:8081' 80 | "$2"
		lab_service udp '*:5300/udp' 5300 | masq
	} | lab_config >"$CONFIG"
}
write_config cat masq
apply >/dev/null
expect 0 verify

step 'no route back, and each replica answers'
expect_alternation 4 6
expect_alternation 6 6
equal 'bytes, IPv4' "$(blob 4)" 8388608
equal 'bytes, IPv6' "$(blob 6)" 8388608
expect_text "$(seen_client 4)" '^10\.0\.[12]\.1$'
expect_text "$(seen_client 6)" '^fd00:[12]::1$'
lab_in node2 "$E2E/udp_echo.py" ask $VIP4 5300 10 400
lab_in node2 "$E2E/udp_echo.py" ask $VIP6 5300 10 400
echo 'UDP: 20 of 20, from the address that was asked'

step 'counters and connections tell of the client'
held=$(hold_open h 4)
[[ $HOOK != ipvs ]] || sleep 2.2 # the kernel sums up every two seconds
equal 'connections of vote' "$(lab_meshlb -j service show vote | jq .counters.connections)" 17
lab_meshlb -j conn ls --service vote --client $CLIENT4 | jq -e '.connections | length > 0' >/dev/null ||
	fail "conn ls: $(lab_meshlb conn ls)"

step 'a replica that is its own client'
lab_in r1 ip -4 route add $VIP4 via 10.0.1.1
for _ in 1 2; do
	expect_text "$(lab_in r1 curl -sS -m $MOMENT "$VIP4:8080")" 'container id'
done

step 'the address says what becomes of it, not the service on any address'
! lab_in node2 curl -s -m 2 -o /dev/null "$VIP4:8081" || fail 'exact is nat, and has an answer'
! lab_in node2 curl -s -m 2 -o /dev/null "[$VIP6]:8081" || fail 'exact is nat, and has an answer'
write_config masq cat
expect 0 apply
expect_text "$OUT" '~ service any: forwarding masq -> nat'
expect_text "$OUT" '~ service exact: forwarding nat -> masq'
expect_alternation 4 4 "$VIP4:8081"
expect_alternation 6 4 "[$VIP6]:8081"

step 'show, export, JSON'
expect_text "$(lab_meshlb service show vote)" 'forwarding masq'
equal JSON "$(lab_meshlb -j service show any | jq -r .forwarding)" nat
lab_meshlb export >"$LAB_DIR/export.yaml"
equal 'lines of masq in the export' "$(grep -c 'forwarding: masq' "$LAB_DIR/export.yaml")" 3
equal 'the export applied' "$(lab_meshlb apply -f "$LAB_DIR/export.yaml")" 'no difference'

step 'from masq to nat: what is open stays open'
sed -i '/forwarding: masq/d' "$CONFIG"
expect 0 apply
expect_text "$OUT" '~ service vote: forwarding masq -> nat'
equal 'the connection that stood' "$(ask_held h)" "$held"
! lab_in node2 curl -s -m 2 -o /dev/null "$VIP4:8080" || fail 'nat without a way back has an answer'
expect 0 verify
