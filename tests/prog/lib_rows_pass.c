/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lib_rows_pass.c - packets that are none of the programs' business, and malformed ones; and those
 * with unusual headers that must be balanced nevertheless.
 */
#include "lib_rows.h"

#define C4   .src = NET_CLIENT, .dst = NET_VIP, .sport = 40000
#define C6   .src = NET_CLIENT6, .dst = NET_VIP6, .sport = 40000
#define SYN4 C4, .dport = 80, .flags = PKT_SYN
#define SYN6 C6, .dport = 80, .flags = PKT_SYN
#define DNS4 C4, .dport = 53, .proto = PKT_UDP, .payload = 20
#define DNS6 C6, .dport = 53, .proto = PKT_UDP, .payload = 20
#define WEB4 .to = "10.1.0.11", .to_port = 8080
#define WEB6 .to = "fd00:1::11", .to_port = 8080

static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t group4[6] = {0x01, 0x00, 0x5e, 0, 0, 1};
static const uint8_t group6[6] = {0x33, 0x33, 0, 0, 0, 1};
static const uint8_t others[6] = {0x02, 0, 0, 0, 0x77, 0x77};

static const struct row ethernet[] = {
	{"VLAN tag", {SYN4, .vlans = 1}, .reason = LB_REASON_VLAN},
	{"VLAN tag v6", {SYN6, .vlans = 1}, .reason = LB_REASON_VLAN},
	{"two VLAN tags", {SYN4, .vlans = 2}, .reason = LB_REASON_VLAN},
	{"ARP", {SYN4, .ethertype = 0x0806}, .reason = LB_REASON_NOT_IP},
	{"MPLS", {SYN4, .ethertype = 0x8847}, .reason = LB_REASON_NOT_IP},
	{"802.3 length instead of a type", {SYN4, .ethertype = 0x0040}, .reason = LB_REASON_NOT_IP},
	{"IPv4 under IPv6's type",
	 {SYN4, .ethertype = 0x86dd, .payload = 60},
	 .reason = LB_REASON_MALFORMED},
	{"IPv6 under IPv4's type", {SYN6, .ethertype = 0x0800}, .reason = LB_REASON_MALFORMED},
	{"broadcast MAC", {SYN4, .dmac = broadcast}, .reason = LB_REASON_NOT_UNICAST},
	{"multicast MAC", {SYN4, .dmac = group4}, .reason = LB_REASON_NOT_UNICAST},
	{"multicast MAC v6", {SYN6, .dmac = group6}, .reason = LB_REASON_NOT_UNICAST},
	/* XDP does not know the interface's MAC; a NIC passes another's only when promiscuous. */
	{"another host's MAC",
	 {SYN4, .dmac = others},
	 WEB4,
	 .tc_differs = true,
	 .tc_reason = LB_REASON_NOT_UNICAST},
};

static const struct row lookup[] = {
	{"another port", {C4, .dport = 8089, .flags = PKT_SYN}, .reason = LB_REASON_NO_SERVICE},
	{"another port v6", {C6, .dport = 8089, .flags = PKT_SYN}, .reason = LB_REASON_NO_SERVICE},
	{"another address",
	 {.src = NET_CLIENT, .dst = "10.1.0.1", .sport = 5, .dport = 80, .flags = PKT_SYN},
	 .reason = LB_REASON_NO_SERVICE},
	{"another address v6",
	 {.src = NET_CLIENT6, .dst = "fd00:1::1", .sport = 5, .dport = 80, .flags = PKT_SYN},
	 .reason = LB_REASON_NO_SERVICE},
	{"datagram to a TCP service",
	 {C4, .dport = 80, .proto = PKT_UDP},
	 .reason = LB_REASON_NO_SERVICE},
	{"SYN to a UDP service",
	 {C4, .dport = 53, .flags = PKT_SYN},
	 .reason = LB_REASON_NO_SERVICE},
	{"port 0", {C4, .flags = PKT_SYN}, .reason = LB_REASON_NO_SERVICE},
	{"a backend's packet of no connection",
	 {.src = "10.1.0.11", .dst = NET_CLIENT, .sport = 8080, .dport = 40000},
	 .reason = LB_REASON_NO_SERVICE},
	{"a client's own packet to a backend",
	 {.src = NET_CLIENT, .dst = "10.1.0.11", .sport = 40000, .dport = 8080, .flags = PKT_SYN},
	 .reason = LB_REASON_NO_SERVICE},
	{"data of no connection",
	 {C4, .dport = 80, .payload = 5},
	 .reason = LB_REASON_NO_CONNECTION},
	{"data of no connection v6",
	 {C6, .dport = 80, .payload = 5},
	 .reason = LB_REASON_NO_CONNECTION},
	{"SYN-ACK of no connection",
	 {C4, .dport = 80, .flags = PKT_SYN | PKT_ACK},
	 .reason = LB_REASON_NO_CONNECTION},
	{"SYN-RST",
	 {C4, .dport = 80, .flags = PKT_SYN | PKT_RST},
	 .reason = LB_REASON_NO_CONNECTION},
	{"no flags",
	 {C4, .dport = 80},
	 .edit = {{47, 1, {0}}},
	 .fix_csum = true,
	 .reason = LB_REASON_NO_CONNECTION},
	{"RST of no connection to a hash scheduler",
	 {C4, .dport = 89, .flags = PKT_RST},
	 .reason = LB_REASON_NO_CONNECTION},
};

static const struct row protocol[] = {
	{"ICMP", {C4, .proto = PKT_ICMP}, .reason = LB_REASON_NOT_TCP_UDP},
	{"ICMPv6", {C6, .proto = PKT_ICMPV6}, .reason = LB_REASON_NOT_TCP_UDP},
	{"ESP", {C4, .proto = PKT_ESP, .payload = 40}, .reason = LB_REASON_NOT_TCP_UDP},
	{"AH", {C4, .proto = PKT_AH, .payload = 40}, .reason = LB_REASON_NOT_TCP_UDP},
	{"IP in IP", {C4, .proto = 4, .payload = 40}, .reason = LB_REASON_NOT_TCP_UDP},
	{"SCTP", {C4, .proto = 132, .payload = 40}, .reason = LB_REASON_NOT_TCP_UDP},
	{"no payload at all", {C4, .proto = PKT_ESP}, .reason = LB_REASON_NOT_TCP_UDP},
	{"first fragment", {SYN4, .frag_more = true, .payload = 8}, .reason = LB_REASON_FRAGMENT},
	{"middle fragment",
	 {SYN4, .frag_more = true, .frag_off = 64},
	 .reason = LB_REASON_FRAGMENT},
	{"last fragment", {SYN4, .frag_off = 185}, .reason = LB_REASON_FRAGMENT},
	{"last fragment of a datagram", {DNS4, .frag_off = 185}, .reason = LB_REASON_FRAGMENT},
	{"fragment at the highest offset",
	 {SYN4, .frag_off = 0x1fff},
	 .reason = LB_REASON_FRAGMENT},
};

#define EXTS(...) .exts = {__VA_ARGS__}, .n_exts = sizeof((uint8_t[]){__VA_ARGS__})

static const struct row extension[] = {
	{"hop-by-hop", {SYN6, EXTS(PKT_HOPOPTS)}, WEB6},
	{"destination options", {SYN6, EXTS(PKT_DSTOPTS)}, WEB6},
	{"destination options, datagram",
	 {DNS6, EXTS(PKT_DSTOPTS)},
	 .to = "fd00:1::11",
	 .to_port = 5353},
	{"routing, at its last stop", {SYN6, EXTS(PKT_ROUTING)}, WEB6},
	{"routing, on its way",
	 {SYN6, EXTS(PKT_ROUTING)},
	 .edit = {{57, 1, {1}}},
	 .reason = LB_REASON_EXT_HEADER},
	{"a long one", {SYN6, EXTS(PKT_HOPOPTS), .ext_units = 2}, WEB6},
	{"four", {SYN6, EXTS(PKT_HOPOPTS, PKT_DSTOPTS, PKT_ROUTING, PKT_DSTOPTS)}, WEB6},
	{"five",
	 {SYN6, EXTS(PKT_HOPOPTS, PKT_DSTOPTS, PKT_ROUTING, PKT_DSTOPTS, PKT_DSTOPTS)},
	 .reason = LB_REASON_EXT_HEADER},
	{"twelve",
	 {SYN6, EXTS(0, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60)},
	 .reason = LB_REASON_EXT_HEADER},
	{"256 bytes", {SYN6, EXTS(PKT_DSTOPTS), .ext_units = 31}, WEB6},
	{"264 bytes", {SYN6, EXTS(PKT_DSTOPTS), .ext_units = 32}, .reason = LB_REASON_EXT_HEADER},
	{"first fragment",
	 {SYN6, EXTS(PKT_FRAGMENT), .frag_more = true},
	 .reason = LB_REASON_FRAGMENT},
	{"last fragment",
	 {SYN6, EXTS(PKT_FRAGMENT), .frag_off = 100},
	 .reason = LB_REASON_FRAGMENT},
	{"atomic fragment", {SYN6, EXTS(PKT_FRAGMENT)}, .reason = LB_REASON_FRAGMENT},
	{"fragment behind others",
	 {SYN6, EXTS(PKT_HOPOPTS, PKT_ROUTING, PKT_FRAGMENT)},
	 .reason = LB_REASON_FRAGMENT},
	{"AH", {SYN6, EXTS(PKT_AH)}, .reason = LB_REASON_NOT_TCP_UDP},
	{"ESP", {C6, .proto = PKT_ESP, .payload = 40}, .reason = LB_REASON_NOT_TCP_UDP},
	{"mobility", {SYN6, EXTS(PKT_MOBILITY)}, .reason = LB_REASON_NOT_TCP_UDP},
	{"no next header", {C6, .proto = PKT_NONE}, .reason = LB_REASON_NOT_TCP_UDP},
	{"ICMPv6 behind hop-by-hop (MLD)",
	 {C6, .proto = PKT_ICMPV6, EXTS(PKT_HOPOPTS)},
	 .reason = LB_REASON_NOT_TCP_UDP},
	{"longer than the packet",
	 {SYN6, EXTS(PKT_DSTOPTS)},
	 .edit = {{55, 1, {20}}},
	 .reason = LB_REASON_MALFORMED},
	{"ends in the middle of one",
	 {SYN6, EXTS(PKT_DSTOPTS)},
	 .edit = {{18, 2, {0, 7}}},
	 .reason = LB_REASON_MALFORMED},
};

static const struct row length[] = {
	{"version 5", {SYN4}, .edit = {{14, 1, {0x55}}}, .reason = LB_REASON_MALFORMED},
	{"version 0", {SYN4}, .edit = {{14, 1, {0x05}}}, .reason = LB_REASON_MALFORMED},
	{"header of 0 bytes", {SYN4}, .edit = {{14, 1, {0x40}}}, .reason = LB_REASON_MALFORMED},
	{"header of 16 bytes", {SYN4}, .edit = {{14, 1, {0x44}}}, .reason = LB_REASON_MALFORMED},
	{"header beyond the packet",
	 {SYN4},
	 .edit = {{14, 1, {0x4f}}},
	 .reason = LB_REASON_MALFORMED},
	{"total length 0", {SYN4}, .edit = {{16, 2, {0, 0}}}, .reason = LB_REASON_MALFORMED},
	{"total length 19", {SYN4}, .edit = {{16, 2, {0, 19}}}, .reason = LB_REASON_MALFORMED},
	{"total length 20", {SYN4}, .edit = {{16, 2, {0, 20}}}, .reason = LB_REASON_MALFORMED},
	{"total length 39", {SYN4}, .edit = {{16, 2, {0, 39}}}, .reason = LB_REASON_MALFORMED},
	{"total length above the frame's",
	 {SYN4},
	 .edit = {{16, 2, {0, 41}}},
	 .reason = LB_REASON_MALFORMED},
	{"total length 65535",
	 {SYN4},
	 .edit = {{16, 2, {0xff, 0xff}}},
	 .reason = LB_REASON_MALFORMED},
	{"TCP header of 0 bytes", {SYN4}, .edit = {{46, 1, {0}}}, .reason = LB_REASON_MALFORMED},
	{"TCP header of 16 bytes",
	 {SYN4},
	 .edit = {{46, 1, {0x40}}},
	 .reason = LB_REASON_MALFORMED},
	{"TCP header beyond the packet",
	 {SYN4},
	 .edit = {{46, 1, {0x60}}},
	 .reason = LB_REASON_MALFORMED},
	{"UDP length 0", {DNS4}, .edit = {{38, 2, {0, 0}}}, .reason = LB_REASON_MALFORMED},
	{"UDP length 7", {DNS4}, .edit = {{38, 2, {0, 7}}}, .reason = LB_REASON_MALFORMED},
	{"UDP length above the packet's",
	 {DNS4},
	 .edit = {{38, 2, {0, 29}}},
	 .reason = LB_REASON_MALFORMED},
	{"UDP header cut by the total length",
	 {DNS4},
	 .edit = {{16, 2, {0, 27}}},
	 .reason = LB_REASON_MALFORMED},
	{"version 4 v6", {SYN6}, .edit = {{14, 1, {0x40}}}, .reason = LB_REASON_MALFORMED},
	{"payload length 0 v6", {SYN6}, .edit = {{18, 2, {0, 0}}}, .reason = LB_REASON_MALFORMED},
	{"payload length 19 v6", {SYN6}, .edit = {{18, 2, {0, 19}}}, .reason = LB_REASON_MALFORMED},
	{"payload length above the frame's v6",
	 {SYN6},
	 .edit = {{18, 2, {0, 21}}},
	 .reason = LB_REASON_MALFORMED},
	{"payload length 65535 v6",
	 {SYN6},
	 .edit = {{18, 2, {0xff, 0xff}}},
	 .reason = LB_REASON_MALFORMED},
	{"TCP header beyond the packet v6",
	 {SYN6},
	 .edit = {{66, 1, {0xf0}}},
	 .reason = LB_REASON_MALFORMED},
	{"UDP length 7 v6", {DNS6}, .edit = {{58, 2, {0, 7}}}, .reason = LB_REASON_MALFORMED},
	{"UDP length above the packet's v6",
	 {DNS6},
	 .edit = {{58, 2, {0, 29}}},
	 .reason = LB_REASON_MALFORMED},
};

#define GROUP(array)                                                                               \
	{                                                                                          \
#array, array, sizeof(array) / sizeof(array[0])                                    \
	}
const struct row_group rows_pass[] = {
	GROUP(ethernet), GROUP(lookup), GROUP(protocol), GROUP(extension), GROUP(length),
};
const size_t rows_pass_n = sizeof(rows_pass) / sizeof(rows_pass[0]);
