#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# timeouts.sh - `timeouts:` of the instance and of services: shown, in force, changed, repaired.
# hooks: tc
# limit: 180
# guest: full
# full: xdp
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

lab_topology direct 2
lab_nginx r1 r2
for replica in r1 r2; do
	lab_spawn $replica "$E2E/udp_echo.py" serve 9000
	lab_until 5 lab_listening $replica 9000 udp
done
timeouts() { # TIMEOUTS: of the instance; of the service brief
	lab_config <<<"$(lab_service long "*:9001/udp" 9000)
$(lab_service brief "*:9002/udp" 9000)
    timeouts: $2
$(lab_service vote "*:8080" 80)"
	echo "timeouts: $1"
}
query() { lab_in node2 "$E2E/udp_echo.py" ask $VIP4 "$1" 1 100; }
count() { lab_meshlb conn count --service "$1"; }
forgotten() { [[ $(count "$1") == 0 ]]; }
only_one() { [[ $(count "$1") == 1 ]]; }

step 'shown, exported, and no difference to themselves'
timeouts '{ established: 2h }' '{ udp: 10s, udp-new: 1s }' >"$CONFIG"
apply >/dev/null
expect 0 lab_meshlb status
expect_text "$OUT" 'timeouts: syn 30s, established 2h, half-closed 1h, closing 2m, closed 10s, udp-new 30s, udp 3m'
equal 'by JSON' "$(lab_meshlb -j status | jq -c '[.timeouts.established, .timeouts.udp]')" '[7200,180]'
expect_text "$OUT" '^timeouts of brief: udp-new 1s, udp 10s$'
equal 'of the service, as JSON' "$(lab_meshlb -j status | jq -c .service_timeouts)" '{"brief":{"udp-new":1,"udp":10}}'
expect 0 lab_meshlb service show brief
expect_text "$OUT" 'timeouts: udp-new 1s udp 10s'
expect 0 lab_meshlb export
expect_text "$OUT" '^timeouts: \{ established: 2h \}'
expect_text "$OUT" '^    timeouts: \{ udp-new: 1s, udp: 10s \}'
equal 'export | apply' "$(lab_meshlb export | lab_meshlb apply -f -)" 'no difference'

step 'in force: one of two services forgets sooner'
query 9001
query 9002
equal 'at once' "$(count long) $(count brief)" '1 1'
lab_until 20 forgotten brief
equal 'later' "$(count long)" 1

step 'changed: an entry takes it with its next packet that is noted, or at once where it is its set'
timeouts '{ udp: 10s }' '{ syn: 5s }' >"$CONFIG"
expect 0 apply
expect_text "$OUT" '^~ defaults: timeouts.established 2h -> 4h, timeouts.udp 3m -> 10s'
expect_text "$OUT" "^~ service brief: timeouts.syn the instance's -> 5s, timeouts.udp-new 1s -> the instance's"
lab_until 20 forgotten long
expect 0 verify
expect_alternation 4 4 >/dev/null

step 'sixteen different ones one after another: sets are used again'
for i in {1..20}; do
	timeouts '{}' "{ syn: ${i}s }" >"$CONFIG"
	expect 0 apply
done
expect 0 verify
expect 0 lab_meshlb service show brief
expect_text "$OUT" 'timeouts: syn 20s'

step 'a set that a connection names is given to no other service, nor used anew'
timeouts '{}' '{ udp: 20m }' >"$CONFIG"
expect 0 apply
query 9002 # idle from now on
for i in {1..5}; do
	timeouts '{}' "{ udp: 10s, syn: ${i}s }" >"$CONFIG"
	expect 0 apply
done
query 9002
lab_until 20 only_one brief || fail "$(lab_meshlb conn ls)"
equal 'it is the idle one' "$(lab_meshlb -j conn ls --service brief | jq '.connections[0].idle > 10')" true

step 'connections name all sets: others are refused, those of before are not'
for i in {1..14}; do
	timeouts '{}' "{ udp: $((20 + i))m }" >"$CONFIG"
	expect 0 apply
	query 9002
done
timeouts '{}' '{ udp: 35m }' >"$CONFIG"
expect 1 apply
expect_text "$ERR" 'service "brief": 15 different ones are in use, by services .* or by connections'
equal connections "$(count brief)" 15
timeouts '{}' '{ udp: 20m }' >"$CONFIG"
expect 0 apply
expect 0 verify
expect 0 lab_meshlb conn flush --service brief
timeouts '{}' '{ udp: 35m }' >"$CONFIG"
expect 0 apply
expect 0 verify
