#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# affinity.sh - `affinity:`: a client keeps its replica, over applies and another build of the
# programs, until that one is drained or removed, or the time is over; by curl and dig.
# hooks: tc
# full: xdp
# guest: full
# limit: 300
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

readonly OTHER4=192.0.2.3 OTHER6=2001:db8::3 # another client on node2

bound() { # AFFINITY LAB_SERVICE_ARGUMENT...
	lab_service "${@:2}" | sed "s/^    scheduler: .*/&\n    affinity: $1/"
}
services() { # the replicas' port of vote
	bound '300s' vote '*:8080' "$1"
	bound '{ timeout: 10s }' brief '*:8081' 80
	bound '{ mask: 24, mask6: 64 }' net '*:8082' 80
	bound '{ across-ports: true }' dns '*:53/udp,*:53/tcp' 53
	lab_service plain '*:8083' 80
}
who_answers() { # CLIENT PORT TIMES: prints by name who answered
	local to=$VIP4
	local -a urls
	[[ $1 != *:* ]] || to=[$VIP6]
	mapfile -t urls < <(yes "http://$to:$2/" | head -n "$3")
	lab_in node2 curl -sS -g -m $MOMENT --interface "$1" -H 'Connection: close' "${urls[@]}" |
		sed -n 's/.*container id \([0-9a-f]*\).*/\1/p' >"$LAB_DIR/answers"
	equal 'number of answers' "$(wc -l <"$LAB_DIR/answers")" "$3"
	sort -u "$LAB_DIR/answers" | while read -r id; do echo "${REPLICAS[$id]}"; done | sort | tr '\n' ' '
}
other_than() { [[ $1 == 'r1 ' ]] && echo 'r2 ' || echo 'r1 '; }
keeps() { # WHEN PORT: each client the replica that it had at first
	local client
	for client in $CLIENT4 $OTHER4 $CLIENT6 $OTHER6; do
		equal "$1, $client" "$(who_answers "$client" "$2" 3)" "${HAS[$client]}"
	done
}
affinities() { lab_meshlb conn count --affinity "$@"; }

lab_topology direct 2
lab_nginx r1 r2
lab_addr node2 eth0 $OTHER4/24 $OTHER6/64
declare -A HAS=() REPLICAS=([$(lab_id r1)]=r1 [$(lab_id r2)]=r2)
for i in 1 2; do
	unbound "$i"
	lab_until 10 lab_listening "r$i" 53 udp
done
services 80 | lab_config >"$CONFIG"
expect 0 apply
expect_text "$OUT" 'service vote: .*affinity 5m mask 32 mask6 128'

step 'each client by itself: twenty requests to one replica, another client to the other one'
for client in $CLIENT4 $OTHER4 $CLIENT6 $OTHER6; do
	HAS[$client]=$(who_answers "$client" 8080 20)
	expect_text "${HAS[$client]}" '^r[12] $'
done
equal 'the other client, IPv4' "${HAS[$OTHER4]}" "$(other_than "${HAS[$CLIENT4]}")"
equal 'the other client, IPv6' "${HAS[$OTHER6]}" "$(other_than "${HAS[$CLIENT6]}")"
equal 'without affinity' "$(who_answers $CLIENT4 8083 4)" 'r1 r2 '
equal 'clients of one network' "$(who_answers $CLIENT4 8082 3)" "$(who_answers $OTHER4 8082 3)"
equal 'clients of one network' "$(who_answers $CLIENT6 8082 3)" "$(who_answers $OTHER6 8082 3)"

step 'shown, and not among the connections'
expect 0 lab_meshlb conn ls --affinity --service vote
expect_text "$OUT" "^tcp +$CLIENT4/32 +8080 +10.0.[12].2:80 +affinity +.* vote$"
expect_text "$OUT" "^tcp +$OTHER6/128 +8080 +\[fd00:[12]::2\]:80 +affinity +.* vote$"
equal 'of vote' "$(affinities --service vote)" 4
equal 'of net' "$(affinities --service net) $(affinities --client 192.0.2.77 --service net)" '2 1'
equal 'of a client' "$(affinities --client $CLIENT4 --service vote)" 1
equal JSON "$(lab_meshlb -j conn ls --affinity --client 192.0.2.9 |
	jq -c '[.kind, (.affinities[] | .client, .port, .service, .protocol, .state)]')" \
	'["affinities","192.0.2.0/24",8082,"net","tcp","affinity"]'
equal 'by status' "$(lab_meshlb -j status | jq -c '[.usage.affinities.used, .usage.affinities6.used]')" '[3,3]'
[[ $(lab_meshlb conn ls; ! kernel_has_iterators || cat "$PINS/connections") != *ffinity* ]] ||
	fail 'an affinity among the connections'
expect 0 lab_meshlb service show net
expect_text "$OUT" '^affinity: 5m mask 24 mask6 64$'
equal 'service show' "$(lab_meshlb -j service show dns | jq -c .affinity)" \
	'{"timeout":300,"mask":32,"mask6":128,"across_ports":true}'
equal 'export | apply' "$(lab_meshlb export | lab_meshlb apply -f -)" 'no difference'
expect 0 verify

step 'UDP and TCP of a service with across-ports'
answers() { # CLIENT OPTION
	local i
	for i in {1..6}; do
		lab_in node2 dig -b "$1" +short +tries=1 +time=3 "$2" "@$VIP4" who.test A
	done | sort -u | xargs
}
mine=$(answers $CLIENT4 +notcp)
expect_text "$mine" '^10.0.[12].2$'
equal 'by TCP' "$(answers $CLIENT4 +tcp)" "$mine"
[[ $(answers $OTHER4 +tcp) != "$mine" ]] || fail 'the other client was not balanced by itself'
expect_text "$(lab_meshlb conn ls --affinity --service dns)" "^\* +$CLIENT4/32 +\* +$mine:53 "

step 'it survives changes of the service, and another build of the programs'
sed -i '0,/scheduler: rr/s//scheduler: wrr/' "$CONFIG"
sed -i '0,/10.0.1.2:80" }/s//10.0.1.2:80", weight: 3 }/' "$CONFIG"
expect 0 apply
keeps 'another scheduler, another weight' 8080
for i in 1 2; do
	sed -i "0,/- { address: \"10.0.$i.2:80\"/s//- { address: \"10.0.$i.2:83\" }\n      &/" "$CONFIG"
done
expect 0 apply
keeps 'more backends' 8080
old=$MESHLB MESHLB=$BUILD/next/meshlb
expect 0 apply
expect_text "$OUT" '[Bb]uild|program'
keeps 'another build' 8080
MESHLB=$old
expect 0 apply
keeps 'and back' 8080
services 80 | lab_config >"$CONFIG"
expect 0 apply
keeps 'all as before' 8080
expect 0 verify

step 'a drain moves it, at once; the connections that are open stay'
held=$(hold_open h4 4)
number=$(tr -dc 12 <<<"${HAS[$CLIENT4]}")
equal 'the held connection' "${REPLICAS[$held]} " "${HAS[$CLIENT4]}"
expect 0 lab_meshlb backend drain vote "10.0.$number.2:80"
equal 'drained' "$(who_answers $CLIENT4 8080 10)" "$(other_than "${HAS[$CLIENT4]}")"
equal 'the held connection' "$(ask_held h4)" "$held"
expect 0 verify
expect 0 lab_meshlb backend undrain vote "10.0.$number.2:80"
equal 'who was moved stays' "$(who_answers $CLIENT4 8080 10)" "$(other_than "${HAS[$CLIENT4]}")"
equal 'the held connection' "$(ask_held h4)" "$held"
HAS[$CLIENT4]=$(other_than "${HAS[$CLIENT4]}")
expect 0 verify

step 'so does the removal of the backend'
number=$(tr -dc 12 <<<"${HAS[$CLIENT4]}")
sed "0,/ { address: \"10.0.$number.2:80\"/{/ { address: \"10.0.$number.2:80\"/d}" "$CONFIG" >"$CONFIG.less"
expect 0 lab_meshlb apply -f "$CONFIG.less"
equal 'removed' "$(who_answers $CLIENT4 8080 10)" "$(other_than "${HAS[$CLIENT4]}")"
expect 0 apply
equal 'it came back' "$(who_answers $CLIENT4 8080 10)" "$(other_than "${HAS[$CLIENT4]}")"
HAS[$CLIENT4]=$(other_than "${HAS[$CLIENT4]}")
HAS[$OTHER4]=$(who_answers "$OTHER4" 8080 1) # whose backend was this one, too

step 'time is over: the client is balanced anew'
first=$(who_answers $CLIENT4 8081 1)
is_forgotten() { [[ $(affinities --service brief) == 0 ]]; }
lab_until 20 is_forgotten
sleep 2 # the programs' clock may be a tick behind the command's
equal 'anew' "$(who_answers $CLIENT4 8081 1)" "$(other_than "$first")"
keeps 'meanwhile' 8080

step 'flush, and collection of what has expired'
rm "$PINS/sweeper" # the timer would be first; the next apply makes it anew
equal 'of vote' "$(affinities --service vote)" 4
expect 0 lab_meshlb conn flush --affinity --service vote --client $OTHER4
equal 'forgotten' "$OUT $(affinities --service vote)" '1 forgotten 3'
expect 0 lab_meshlb conn flush --service vote
equal 'all of vote' "$(affinities --service vote) $(lab_meshlb conn count --service vote)" '0 0'
lab_until 20 is_forgotten
expect 0 lab_meshlb conn gc
expect_text "$OUT" '^[1-9][0-9]* collected$'

step 'it ends with the config; other datapaths refuse it by name'
sed '/affinity: /d' "$CONFIG" >"$CONFIG.none"
expect 0 lab_meshlb apply -f "$CONFIG.none"
expect_text "$OUT" '^~ service vote: affinity 5m mask 32 mask6 128 -> none$'
equal 'without' "$(who_answers $CLIENT4 8080 4)" 'r1 r2 '
expect 0 lab_meshlb verify -f "$CONFIG.none"
expect 0 apply
{ echo 'datapath: nft' && cat "$CONFIG"; } >"$CONFIG.nft"
expect 1 lab_meshlb apply -f "$CONFIG.nft"
expect_text "$ERR" 'affinity of service: "(vote|brief|dns|net)": datapath nft has none'
