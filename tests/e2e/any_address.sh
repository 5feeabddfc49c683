#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# any_address.sh - `*:port` serves addresses that the node gets later, and no other host's.
# hooks: xdp xdp-generic tc nft
# guest: full
# guest-full: ipvs
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

lab_topology direct 2
lab_default node1 $CLIENT4 $CLIENT6
lab_nginx r1 r2
{
	lab_service any '*:8080' 80
	lab_service v4 '0.0.0.0:8081' 80
	lab_service v6 '[::]:8082' 80
	lab_service bound "$VIP4:8083,[$VIP6]:8083" 80
} | lab_config >"$CONFIG"
apply

step 'addresses added after apply'
lab_addr node1 eth0 192.0.2.77/24 2001:db8::77/64
lab_addr node1 lo 203.0.113.5/32 2001:db8:5::5/128
for url in 192.0.2.77:8080 203.0.113.5:8080 192.0.2.77:8081; do
	expect_alternation 4 4 $url
done
for url in '[2001:db8::77]:8080' '[2001:db8:5::5]:8080' '[2001:db8::77]:8082'; do
	expect_alternation 6 4 "$url"
done

step 'the other family, and the address that a service is bound to'
expect 7 lab_in node2 curl -sS -m 3 '[2001:db8::77]:8081'
expect 7 lab_in node2 curl -sS -m 3 192.0.2.77:8082
expect_alternation 4 2 $VIP4:8083
expect_alternation 6 2 "[$VIP6]:8083"
expect 7 lab_in node2 curl -sS -m 3 192.0.2.77:8083
expect 7 lab_in node2 curl -sS -m 3 '[2001:db8::77]:8083'

step "another host's address is not the node's: its own port 8080 refuses"
expect 7 lab_in node2 curl -sS -m 3 "${LAB_V4[0]}:8080"
expect 7 lab_in node2 curl -sS -m 3 "[${LAB_V6[0]}]:8080"

step "a link-local address is no service's: nobody forwards its packets, the node itself refuses"
link_local=$(lab_in node1 ip -6 -j addr show dev eth0 scope link | jq -r '.[].addr_info[]?.local // empty')
expect 7 lab_in node2 curl -sSvg -m $MOMENT "[$link_local%eth0]:8080"
expect_text "$ERR" 'Connection refused'

step 'an address that is taken away again'
lab_in node1 ip addr del 203.0.113.5/32 dev lo
refuses() { ! lab_in node2 curl -sS -m 1 203.0.113.5:8080; }
lab_until 5 refuses # it is remembered for a tick
