#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# dns.sh - dig asks two unbound by UDP and TCP: each answers with its own address, in turns.
# hooks: xdp xdp-generic tc nft
# guest: full
# guest-full: ipvs
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

lab_topology direct 2
for i in 1 2; do
	unbound "$i"
	lab_until 10 lab_listening "r$i" 53 udp
done
lab_service dns "$VIP4:53/udp,[$VIP6]:53/udp,$VIP4:53/tcp,[$VIP6]:53/tcp" 53 |
	lab_config >"$CONFIG"
apply

# Every query is a new flow, so the answers alternate: each has a source port of its own, as those
# that dig takes at random may be equal, and an answer by TCP closes its port for a minute.
port=20000
queries() { # SERVER RECORD OPTION EXPECTED...
	local i answers client=$CLIENT4
	[[ $1 != *:* ]] || client=$CLIENT6
	for ((i = 0; i < 10; i++)); do
		lab_in node2 dig -b "$client#$((++port))" +short +tries=1 +time=3 "$3" "@$1" who.test "$2" ||
			fail "dig @$1 $2 $3: no answer"
	done >"$LAB_DIR/answers"
	answers=$(sort "$LAB_DIR/answers" | uniq -c | awk '{ print $1, $2 }' | xargs)
	equal "answers of @$1 $2 $3" "$answers" "5 $4 5 $5"
	[[ -z $(uniq -d "$LAB_DIR/answers") ]] || fail "@$1 $2 $3: the same server twice in turn"
	echo "@$1 $2 $3: $answers"
}

for server in $VIP4 $VIP6; do
	for how in +notcp +tcp; do
		queries "$server" A "$how" "${LAB_V4[@]}"
		queries "$server" AAAA "$how" "${LAB_V6[@]}"
	done
done
