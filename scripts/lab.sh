# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# lab.sh - sourced: networks of namespaces with a client (node2), the balancer (node1) and real
# nginx replicas (r1, r2, ...), all removed when the shell that called lab_begin ends.
#
# Only `nsenter --net` is used to enter: `ip netns exec` would hide bpffs behind a fresh /sys.

readonly VIP4=192.0.2.1 VIP6=2001:db8::1 # node1, as the client sees it
readonly CLIENT4=192.0.2.2 CLIENT6=2001:db8::2
# auto | xdp | xdp-generic | tc: the interfaces' hook in lab_config; nft | ipvs: that datapath
HOOK=${HOOK:-auto}
MESHLB=$(realpath "${MESHLB:-build/meshlb}")

declare -a LAB_NAMESPACES=() LAB_PIDS=() LAB_INSTANCES=()
declare -a LAB_IFACES=() # of node1, as `interfaces` needs them
declare -a LAB_V4=() LAB_V6=() # addresses of the replicas, by number from 0

# --------------------------------------------------------------------- beginning and end

lab_begin() {
	[[ $EUID == 0 ]] || { echo "this needs root: it makes network namespaces" >&2; exit 1; }
	LAB=${LAB:-mlb$$} # prefix of all names, and the instance's name
	LAB_DIR=$(mktemp -d "${TMPDIR:-/tmp}/$LAB.XXXXXX")
	trap lab_end EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
}

# Ends what runs in the lab's namespaces, whoever started it, and removes everything.
lab_end() {
	local status=$? ns instance
	trap - EXIT
	trap '' INT TERM HUP
	set +e
	# A script that wants to show why it failed defines this.
	[[ $status == 0 || $status == 77 ]] || ! declare -F lab_on_failure >/dev/null || lab_on_failure
	for instance in "${LAB_INSTANCES[@]}"; do
		lab_in node1 "$MESHLB" --instance "$instance" down >/dev/null 2>&1
		rm -rf "/sys/fs/bpf/meshlb/$instance" "/run/meshlb/$instance".*
	done
	lab_kill "${LAB_PIDS[@]}"
	lab_until 2 lab_is_empty 2>/dev/null || lab_pids | xargs -r kill -9
	for ns in "${LAB_NAMESPACES[@]}"; do
		ip netns del "$LAB-$ns"
	done
	rm -rf "$LAB_DIR"
	exit "$status"
}

lab_kill() {
	[[ $# == 0 ]] || kill "$@" 2>/dev/null || true
}

# The namespaces are this lab's alone, and so is whatever runs in them.
lab_pids() {
	local ns
	for ns in "${LAB_NAMESPACES[@]}"; do
		ip netns pids "$LAB-$ns"
	done
}

lab_is_empty() { [[ -z $(lab_pids) ]]; }

# ------------------------------------------------------------------------ running things

lab_in() { # NS COMMAND...
	local ns=$1
	shift
	nsenter --net="/run/netns/$LAB-$ns" -- "$@"
}

# Runs as a user of the node would: the lab's names are in /etc/hosts.
lab_as_user() { # NS COMMAND...
	local ns=$1
	shift
	# shellcheck disable=SC2016
	lab_in "$ns" unshare --mount bash -c 'mount --bind "$0" /etc/hosts && exec "$@"' \
		"$LAB_DIR/hosts" "$@"
}

lab_spawn() { # NS COMMAND...: in the background; the pid is in $LAB_PID
	local ns=$1
	shift
	# Not by lab_in: the pid would be a subshell's.
	nsenter --net="/run/netns/$LAB-$ns" -- "$@" </dev/null &
	LAB_PID=$!
	LAB_PIDS+=("$LAB_PID")
}

lab_meshlb() { # ARGUMENT...: the lab's instance, on node1
	if [[ " ${LAB_INSTANCES[*]} " != *" $LAB "* ]]; then
		LAB_INSTANCES+=("$LAB")
	fi
	lab_in node1 "$MESHLB" --instance "$LAB" "$@"
}

lab_until() { # SECONDS COMMAND...: tries until it succeeds; in the guest all takes longer
	local deadline=$((SECONDS + $1 * (${TEST_GUEST:-0} ? 6 : 1)))
	shift
	until "$@" >/dev/null 2>&1; do
		if ((SECONDS >= deadline)); then
			echo "not true after waiting: $*" >&2
			return 1
		fi
		sleep 0.05
	done
}

lab_listening() { # NS PORT [tcp|udp]
	local proto=${3:-tcp}
	[[ -n $(lab_in "$1" ss -Hln "--$proto" "sport = :$2") ]]
}

# ------------------------------------------------------------------------------ networks

lab_ns() { # NAME...
	local name
	for name; do
		ip netns add "$LAB-$name"
		LAB_NAMESPACES+=("$name")
		lab_sysctl "$name" net.ipv6.conf.{all,default}.accept_dad=0
		lab_in "$name" ip link set lo up
	done
}

lab_sysctl() { # NS NAME=VALUE...
	lab_in "$1" sysctl -qw "${@:2}"
}

lab_forward() { # NS
	lab_sysctl "$1" net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
}

lab_addr() { # NS IFACE ADDRESS/BITS...
	local address
	for address in "${@:3}"; do
		[[ $address == *:* ]] && address+=' nodad'
		echo "addr add $address dev $2"
	done | lab_in "$1" ip -batch - # one process: in the guest each takes a quarter of a second
}

lab_default() { # NS GATEWAY4 GATEWAY6
	printf 'route add default via %s\n' "$2" "$3" | lab_in "$1" ip -batch -
}

lab_link() { # NS1 IFACE1 NS2 IFACE2
	ip link add "$2" netns "$LAB-$1" type veth peer name "$4" netns "$LAB-$3"
	lab_in "$1" ip link set "$2" up
	lab_in "$3" ip link set "$4" up
}

# XDP on the other end of a veth must see whole checksums and whole packets, which a local sender
# gives only with its offloads off; and it can send into the pair only if this end runs NAPI (GRO).
lab_like_a_wire() { # NS IFACE
	lab_in "$1" ethtool -K "$2" tx off gro on >/dev/null
}

lab_bridge() { # NS BRIDGE
	lab_in "$1" ip link add "$2" type bridge mcast_snooping 0
	lab_in "$1" ip link set "$2" up
}

lab_port() { # NS BRIDGE PORT
	lab_in "$1" ip link set "$3" master "$2"
}

# ---------------------------------------------------------------------------- topologies

# Makes node2, node1 and N replicas, KIND saying how node1 reaches them:
#   direct   each by a link and a network of its own
#   bridge   by ports of a bridge br0, as containers
#   router   behind a router on a link eth1
#   same     in the client's layer 2 segment: in by eth0 and out by eth0
lab_topology() { # KIND N
	local kind=$1 n=$2 i
	lab_ns node2 node1
	lab_forward node1
	printf '127.0.0.1 localhost\n%s node1\n%s node1\n' $VIP4 $VIP6 >"$LAB_DIR/hosts"
	if [[ $kind == same ]]; then
		lab_ns switch
		lab_bridge switch br0
		lab_link node2 eth0 switch node2
		lab_link node1 eth0 switch node1
		lab_port switch br0 node2
		lab_port switch br0 node1
		[[ $HOOK != xdp ]] || lab_like_a_wire switch node1
	else
		lab_link node2 eth0 node1 eth0
	fi
	lab_addr node2 eth0 $CLIENT4/24 $CLIENT6/64
	lab_addr node1 eth0 $VIP4/24 $VIP6/64
	lab_default node2 $VIP4 $VIP6
	[[ $HOOK != xdp ]] || lab_like_a_wire node2 eth0
	LAB_IFACES=(eth0)

	"lab_backends_$kind"
	for ((i = 1; i <= n; i++)); do
		lab_ns "r$i"
		"lab_replica_$kind" "$i"
		[[ $HOOK != xdp ]] || lab_like_a_wire "r$i" eth0
	done
}

lab_backends_direct() { :; }

lab_replica_direct() { # I
	lab_link node1 "r$1" "r$1" eth0
	lab_addr node1 "r$1" "10.0.$1.1/24" "fd00:$1::1/64"
	LAB_IFACES+=("r$1")
	lab_replica_addr "$1" "10.0.$1" "fd00:$1:" 2
}

lab_backends_bridge() {
	lab_bridge node1 br0
	lab_addr node1 br0 10.0.1.1/24 fd00:1::1/64
	LAB_IFACES+=(br0)
}

lab_replica_bridge() { # I
	lab_link node1 "r$1" "r$1" eth0
	lab_port node1 br0 "r$1"
	lab_replica_addr "$1" 10.0.1 fd00:1: $((10 + $1))
}

lab_backends_router() {
	lab_ns router
	lab_forward router
	lab_link node1 eth1 router eth1
	lab_addr node1 eth1 10.9.0.1/24 fd09::1/64
	lab_addr router eth1 10.9.0.2/24 fd09::2/64
	lab_default router 10.9.0.1 fd09::1
	lab_in node1 ip -4 route add 10.0.0.0/16 via 10.9.0.2
	lab_in node1 ip -6 route add fd00::/16 via fd09::2
	[[ $HOOK != xdp ]] || lab_like_a_wire router eth1
	LAB_IFACES+=(eth1)
}

lab_replica_router() { # I
	lab_link router "r$1" "r$1" eth0
	lab_addr router "r$1" "10.0.$1.1/24" "fd00:$1::1/64"
	lab_replica_addr "$1" "10.0.$1" "fd00:$1:" 2
}

lab_backends_same() {
	lab_addr node1 eth0 10.0.1.1/24 fd00:1::1/64
}

lab_replica_same() { # I
	lab_link switch "r$1" "r$1" eth0
	lab_port switch br0 "r$1"
	lab_replica_addr "$1" 10.0.1 fd00:1: $((10 + $1))
}

lab_replica_addr() { # I NETWORK4 NETWORK6 HOST
	lab_addr "r$1" eth0 "$2.$4/24" "$3:$4/64"
	lab_default "r$1" "$2.1" "$3:1"
	LAB_V4+=("$2.$4")
	LAB_V6+=("$3:$4")
}

# ------------------------------------------------------------------ replicas and configs

lab_id() { # NS: the 12 hex digits that its nginx answers with
	printf '%s' "$LAB-$1" | sha256sum | cut -c1-12
}

# An nginx on ports 80 to 83 that says by which replica a page was made; / is small, /blob is 8 MiB.
lab_nginx() { # NS...
	local ns dir
	for ns; do
		dir=$LAB_DIR/nginx-$ns
		mkdir -p "$dir/html"
		head -c 8M /dev/zero >"$dir/html/blob"
		lab_nginx_conf "$dir" "$(lab_id "$ns")" >"$dir/nginx.conf"
		lab_spawn "$ns" nginx -q -p "$dir" -e "$dir/error.log" -c "$dir/nginx.conf"
	done
	for ns; do
		lab_until 10 lab_listening "$ns" 80 || {
			cat "$LAB_DIR/nginx-$ns/error.log" >&2
			return 1
		}
	done
}

lab_nginx_conf() { # DIR ID
	cat <<-CONF
		daemon off;
		user root;
		worker_processes 1;
		worker_rlimit_nofile 65536;
		pid $1/pid;
		error_log $1/error.log;
		events { worker_connections 32768; }
		http {
			access_log off;
			client_body_temp_path $1/body;
			proxy_temp_path $1/proxy;
			fastcgi_temp_path $1/fastcgi;
			uwsgi_temp_path $1/uwsgi;
			scgi_temp_path $1/scgi;
			keepalive_timeout 300;
			server {
				$(printf 'listen %s backlog=8192; ' {80..83} '[::]:'{80..83})
				root $1/html;
				location ~ ^/(blob|endless)$ { }
				location / {
					default_type text/html;
					add_header X-Client \$remote_addr;
					return 200 "<p>processed by container id $2</p>\n";
				}
			}
		}
	CONF
}

# Prints a config: the topology's interfaces on $HOOK, small limits, and standard input.
lab_config() {
	local iface hook
	[[ $HOOK != nft && $HOOK != ipvs ]] || echo "datapath: $HOOK"
	echo 'interfaces:'
	for iface in "${LAB_IFACES[@]}"; do
		hook=$HOOK
		[[ $HOOK != nft && $HOOK != ipvs ]] || hook=auto
		# A bridge has no driver for XDP.
		[[ $iface != br* || $hook == auto ]] || hook=tc
		echo "  - { name: $iface, hook: $hook }"
	done
	echo 'limits: { connections: 65536, services: 16, backends: 256, ring-slots: 524288 }'
	echo 'services:'
	cat
}

# Prints one service over all replicas, for lab_config.
lab_service() { # NAME LISTEN PORT [SCHEDULER]
	local address
	printf '  - name: %s\n    listen: ["%s"]\n    scheduler: %s\n    backends:\n' \
		"$1" "${2//,/\", \"}" "${4:-rr}"
	for address in "${LAB_V4[@]}"; do
		printf '      - { address: "%s:%s" }\n' "$address" "$3"
	done
	for address in "${LAB_V6[@]}"; do
		printf '      - { address: "[%s]:%s" }\n' "$address" "$3"
	done
}
