#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# million.sh - `conn ls` of 1,000,000 connections prints each of them, once, and takes no more memory
# than of 10,000; `conn count` counts them.
# hooks: tc
# limit: 300
# full: xdp
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

readonly FEW=10000 MANY=1000000
lab_topology direct 2
lab_nginx r1 r2
lab_service vote '*:8080' 80 | lab_config | sed "s/connections: 65536/connections: $MANY/" >"$CONFIG"
apply >/dev/null
hold_open h4 4 >/dev/null
hold_open h6 6 >/dev/null

fill() { # NUMBER: half of it by each family, with those that are held
	local pin
	local -a pids=()
	for pin in lb_conn4 lb_conn6; do
		"$E2E/conn_table.py" "$PINS/$pin" add $(($1 / 2 - 1)) &
		pids+=($!)
	done
	LAB_PIDS+=("${pids[@]}")
	wait "${pids[0]}" && wait "${pids[1]}"
}
declare -A own=() all=()
listed() { # NUMBER JSON_LINES: as text and by JSON, each of them once
	local form lines
	for form in -q -j; do
		lines=$(($1 + 1))
		[[ $form == -q ]] || lines=$(($1 + $2))
		expect 0 lab_in node1 "$E2E/peak.py" "$MESHLB" --instance "$LAB" $form conn ls
		equal "conn ls $form" "${OUT% own *}" \
			"lines $lines connections $1 clients $1 services 1"
		read -r "own[$form$1]" _ "all[$form$1]" <<<"${OUT#* own }"
		echo "conn ls $form: $OUT KiB"
	done
	equal 'conn count' "$(lab_meshlb conn count)" "$1"
}

step "$FEW connections"
fill $FEW
json=$(lab_meshlb -j conn ls | wc -l)
listed $FEW $((json - FEW))
jq -e . <(lab_meshlb -j conn ls) >"$LAB_DIR/json" || fail 'no JSON'

step "$MANY connections"
expect 0 lab_meshlb conn flush --client 198.18.0.0/15
expect 0 lab_meshlb conn flush --client 2001:db8:77::/48
equal 'what was flushed' "$(lab_meshlb conn count)" 2
fill $MANY
listed $MANY $((json - FEW))
begin=${EPOCHREALTIME/./}
lab_meshlb -q conn ls >/dev/null
echo "conn ls of $MANY: $(((${EPOCHREALTIME/./} - begin) / 1000)) ms" # told, not asserted: design.md 8
equal used "$(lab_meshlb -j status | jq -c '.usage | [.connections.used, .connections6.used]')" \
	"[$((MANY / 2)),$((MANY / 2))]"
equal 'of one client' "$(lab_meshlb conn count --client $CLIENT4)" 1
! kernel_has_iterators || equal 'the file' "$(wc -l <"$PINS/connections")" $((MANY + 1))
expect 0 verify

step 'memory'
for form in -q -j; do
	((own[$form$MANY] < own[$form$FEW] + 2048 && all[$form$MANY] < all[$form$FEW] + 2048)) ||
		fail "conn ls $form takes more for $MANY connections than for $FEW"
done
