#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# half.sh - one side closes, the other goes on, long after connections that are over were forgotten;
# requests over one connection of curl and nginx are one connection.
# hooks: xdp
# full: tc
# guest: full
# limit: 240
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

readonly SIZE=$((1 << 20)) # half.py's
readonly CASES=(client4 client6 server4 server6) # who closes first
declare -A pid=()

lab_topology direct 2
lab_nginx r1 r2
for replica in r1 r2; do
	lab_spawn $replica "$E2E/half.py" serve 9000
	lab_until 10 lab_listening $replica 9000
done
{
	lab_service half '*:9000' 9000
	lab_service brief '*:9001' 9000
	echo '    timeouts: { half-closed: 1s }'
	lab_service slow '*:9002' 9000
	echo '    timeouts: { closing: 1h }'
	lab_service talk '*:9003' 9000
	echo '    timeouts: { closing: 1h, closed: 1h }'
	lab_service echo '*:9004' 9000
	echo '    timeouts: { closing: 1h }'
	lab_service abort '*:9005' 9000
	echo '    timeouts: { closed: 1h }'
	lab_service vote '*:8080' 80
} | lab_config >"$CONFIG"
echo 'timeouts: { closing: 2s, closed: 2s, half-closed: 1h }' >>"$CONFIG"
apply >/dev/null

begin() { # NAME client|server 4|6 PORT
	local to=VIP$3
	lab_spawn node2 "$E2E/half.py" "$2" "${!to}" "$4" "$LAB_DIR/$1.go" >"$LAB_DIR/$1.half" 2>&1
	pid[$1]=$LAB_PID
	lab_until 5 grep -q half "$LAB_DIR/$1.half" || fail "$1: $(<"$LAB_DIR/$1.half")"
}
go_on() { # NAME
	: >"$LAB_DIR/$1.go"
	wait "${pid[$1]}" || fail "$1: $(<"$LAB_DIR/$1.half")"
	equal "$1" "$(tail -n 1 "$LAB_DIR/$1.half")" 'done'
}
# States of a service's connections by IPv4 and by IPv6, sorted
states() { # SERVICE
	lab_meshlb -j conn ls --service "$1" |
		jq -r '[.connections[] | "\(if .client[:1] == "[" then 6 else 4 end):\(.state)"] | sort | join(" ")'
}
are() { [[ $(states "$1") =~ ^($2)$ ]]; }
has_states() { # SERVICE STATES: a regular expression
	lab_until 5 are "$1" "$2" || fail "states of $1: $(states "$1"), not $2"
}
connections() { # SERVICE: that were opened
	lab_meshlb -j stats | jq --arg name "$1" '.services[] | select(.name == $name) | .connections'
}
play() { # PORT CASE...: of half.py, and a family
	local one to
	for one in "${@:2}"; do
		to=VIP${one: -1}
		lab_in node2 timeout $((MOMENT * 12)) "$E2E/half.py" "${one%?}" "${!to}" "$1" - || fail "$one"
	done
}
nobody_waits() { # SERVICE: all of its connections are over
	local backend
	equal "active ones of $1" "$(lab_meshlb -j service show "$1" | jq -c '[.backends[].active]')" '[0,0,0,0]'
	for backend in "${LAB_V4[0]}:9000" "${LAB_V4[1]}:9000"; do
		expect 0 lab_meshlb backend drain "$1" "$backend" --wait --timeout 2s
	done
}
forgotten() { [[ $(lab_meshlb conn count --service "$1") == 0 ]]; }

step 'one side closes, and nothing is said for long'
for one in "${CASES[@]}"; do
	begin "$one" "${one%?}" "${one: -1}" 9000
done
readonly HALF='4:fin-backend 4:fin-client 6:fin-backend 6:fin-client'
has_states half "$HALF"
begin brief4 client 4 9001
begin brief6 server 6 9001
[[ $(ask 4) && $(ask 6) ]] || fail 'nobody answers'
lab_until 30 forgotten vote
lab_until 30 forgotten brief # as it would be with a time for half-closed ones that is short
equal 'connections of brief' "$(connections brief)" 2
sleep 3
equal 'states, later' "$(states half)" "$HALF"
equal 'connections of half' "$(lab_meshlb conn count --service half) $(connections half)" '4 4'

step 'the other side goes on, and all of it comes'
for one in "${CASES[@]}"; do go_on "$one"; done
for one in 4 6; do
	equal 'what the client got' "$(grep got "$LAB_DIR/client$one.half")" "got $SIZE"
	lab_until 5 test -e "$LAB_DIR/server$one.go.got"
	equal 'what the server got' "$(<"$LAB_DIR/server$one.go.got")" "$SIZE"
done
lab_until 30 forgotten half

step 'both sides have closed: closing'
before=$(reason no-connection)
for one in "${CASES[@]}"; do
	rm -f "$LAB_DIR/$one".*
	begin "$one" "${one%?}" "${one: -1}" 9002
done
has_states slow "$HALF"
for one in "${CASES[@]}"; do go_on "$one"; done
has_states slow '4:closing 4:closing 6:closing 6:closing'
equal 'packets of no connection' "$(reason no-connection)" "$before"

step 'the end is believed, however much both have said since they were looked at'
play 9003 fin4 fin6 rst4 rst6
has_states talk '4:closing 4:(closed|reset) 6:closing 6:(closed|reset)'

step 'and however much went both ways at once: nobody waits for it in vain'
play 9004 echo4 echo6 echo-back4 echo-back6
has_states echo '4:closing 4:closing 6:closing 6:closing'
nobody_waits echo

step 'nor where one side resets it in the midst of that'
play 9005 abort4 abort6 abort-back4 abort-back6
has_states abort '(4:(closed|reset) ){2}6:(closed|reset) 6:(closed|reset)'
nobody_waits abort

step 'requests over one connection of curl, to nginx'
for one in 4 6; do
	before=$(connections vote)
	lab_as_user node2 curl -sS -m $MOMENT "-$one" -w 'new: %{num_connects}\n' \
		node1:8080/{a,b,c} >"$LAB_DIR/curl"
	equal 'connections of three requests' "$(sed -n 's/new: //p' "$LAB_DIR/curl" | paste -sd' ')" '1 0 0'
	equal 'replicas of three requests' "$(grep -c container "$LAB_DIR/curl") $(grep container "$LAB_DIR/curl" | sort -u | wc -l)" '3 1'
	equal 'connections counted' "$(connections vote)" $((before + 1))
	lab_as_user node2 curl -sS -m $MOMENT "-$one" -H 'Connection: close' node1:8080/{a,b,c} >"$LAB_DIR/curl"
	equal 'connections counted, of three' "$(connections vote)" $((before + 4))
	equal 'replicas of three connections' "$(grep container "$LAB_DIR/curl" | sort -u | wc -l)" 2
done
expect 0 verify
