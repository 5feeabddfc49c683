#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# conn.sh - `conn gc`, or a timer, takes out what has expired and nothing else.
# hooks: tc nft
# guest: full
# guest-full: ipvs
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

vote_held

collected() { # NUMBER: what gc says; those that are held live on
	expect 0 lab_meshlb conn gc
	equal 'what gc says' "$OUT" "$1 collected"
	equal 'the IPv4 connection' "$(ask_held h4)" "$held4"
	equal 'the IPv6 connection' "$(ask_held h6)" "$held6"
}

step 'nothing has expired'
collected 0
[[ $HOOK == tc ]] || expect_text "$ERR" "datapath $HOOK: the kernel itself forgets"
expect 2 lab_meshlb conn gc --service vote
expect_text "$ERR" 'takes no --service'
expect 0 lab_meshlb -q conn gc
equal 'quiet' "$OUT$ERR" ''
expect 0 lab_meshlb -j conn gc
equal JSON "$(jq -c . <<<"$OUT")" '{"schema":1,"kind":"gc","collected":0}'

if [[ $HOOK == nft ]]; then
	step 'idle: of data that nobody acknowledges conntrack has another timeout'
	lab_in node2 nft 'table inet deaf { chain in { type filter hook input priority 0; meta nfproto ipv4 tcp sport 8080 drop; }; }'
	echo >"$LAB_DIR/h4.in"
	unacknowledged() { lab_in node1 grep -qE ' ([12]?[0-9]{1,2}|300) ESTABLISHED .* dport=8080 ' /proc/net/nf_conntrack; }
	lab_until 5 unacknowledged || fail "the lab: $(lab_in node1 cat /proc/net/nf_conntrack)"
	equal 'they are not idle for days' "$(lab_meshlb -j conn ls | jq -c '[.connections[].idle < 120]')" '[true,true]'
fi
[[ $HOOK == tc ]] || exit 0 # the table is the kernel's own

step "another clock than the kernel's, in a time namespace"
for offset in 100000 -5; do
	if ! unshare --time --monotonic $offset --fork true; then
		echo 'left out: there are no time namespaces here'
		break
	fi
	in_time() { lab_in node1 unshare --time --monotonic $offset --fork "$MESHLB" --instance "$LAB" "$@"; }
	expect 0 in_time conn gc
	equal 'what gc says' "$OUT" '0 collected'
	equal ages "$(in_time -j conn ls | jq -c '[.connections[].idle < 200]')" '[true,true]'
done

copies() { # WORD...: in both tables
	"$E2E/conn_table.py" "$PINS/lb_conn4" "$@"
	"$E2E/conn_table.py" "$PINS/lb_conn6" "$@"
}
used() { lab_meshlb -j status | jq -c '[.usage.connections.used, .usage.connections6.used]'; }

passes() { bpftool -j map dump pinned "$PINS/sweeper" | jq '.[0].formatted.value.rest.passes'; }
swept() { (($(passes) >= $1)); }
sweep() { # [PASSES]: the second one begins after this
	local until=$(($(passes) + ${1:-2}))
	lab_until 60 swept "$until" || fail "the timer did not go through the table: $(passes) passes"
}

step 'a timer collects what has expired'
copies add 1000
sweep
equal 'conn count' "$(lab_meshlb conn count)" 2002
copies turn
sweep
copies turn
equal 'conn count, the ticks having come round' "$(lab_meshlb conn count)" 2
collected 0

step 'without its pin the timer ends; apply makes it anew'
readonly FORMER=$PINS/former
bpftool map pin pinned "$PINS/sweeper" "$FORMER"
rm "$PINS/sweeper"
expect 3 lab_meshlb verify -f "$CONFIG"
expect_text "$OUT" 'sweeper" is missing, or another map: nobody collects'
bpftool map pin pinned "$PINS/lb_ifaces" "$PINS/sweeper"
expect 3 lab_meshlb verify -f "$CONFIG"
expect_text "$OUT" 'sweeper" is missing, or another map: nobody collects'
expect 0 lab_meshlb apply -f "$CONFIG"
expect 0 lab_meshlb verify -f "$CONFIG"
rm "$PINS/sweeper"
bpftool map pin pinned "$FORMER" "$PINS/sweeper" # of the programs before these
rm "$FORMER"
expect 3 lab_meshlb verify -f "$CONFIG"
expect_text "$OUT" 'sweeper" is missing, or another map: nobody collects'
expect 0 lab_meshlb apply -f "$CONFIG"
expect 0 lab_meshlb verify -f "$CONFIG"
sweep 1
rm "$PINS/sweeper" # whoever looks at what has expired must be first

step 'expired entries: they are not counted, and go before their ticks come round again'
equal 'connections used' "$(used)" '[1,1]'
copies add 1000
equal 'connections used' "$(used)" '[1001,1001]'
copies turn
equal 'conn count' "$(lab_meshlb conn count)" 2
copies turn
equal 'conn count, the ticks having come round' "$(lab_meshlb conn count)" 2002
copies turn
collected 2000
collected 0
copies turn
equal 'conn count, the ticks having come round after gc' "$(lab_meshlb conn count)" 2
equal 'connections used' "$(used)" '[1,1]'

step 'entries of backends whose ids are others'"'"' by now'
copies add 100 stale
equal 'conn count' "$(lab_meshlb conn count)" 2
equal 'connections used' "$(used)" '[101,101]'
collected 200
equal 'connections used' "$(used)" '[1,1]'
