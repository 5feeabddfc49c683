// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * nft_elems.c - the elements of a set, by netlink (libnftnl), as the texts in which
 * datapaths make them. libnftables lists them too, but takes twenty times as long for 50,000 of
 * them.
 *
 * The kernel knows no types: what the bytes of a key and of its data are follows from the set's
 * name, which the table's kind understands. The fields of a concatenation begin at multiples of 4
 * bytes.
 */
#include <netinet/in.h> /* before the kernel's headers, which else define the same */

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/expr.h>
#include <libnftnl/set.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdlib.h>
#include <string.h>

#include "net/nl.h"
#include "nft_table.h"

/* False: a set that the table's kind does not make. */
static bool format_of(const struct lb_nft_table *t, const char *set, struct lb_nft_format *f)
{
	*f = (struct lb_nft_format){};
	if (!strcmp(set, LB_NFT_SET_MODEL))
		f->key[0] = f->key[1] = LB_NFT_FIELD_NUMBER;
	else if (!strcmp(set, LB_NFT_SET_INTERFACES))
		f->key[0] = LB_NFT_FIELD_NAME;
	else
		return t->kind->format(set, f);
	return true;
}

/* ---------------------------------------------------------------- bytes to text */

static size_t field_size(uint8_t field)
{
	return field == LB_NFT_FIELD_V6 || field == LB_NFT_FIELD_NAME ? 16 : 4;
}

static int field_text(char *out, size_t size, uint8_t field, const uint8_t *at, size_t len)
{
	uint8_t bytes[16] = {};
	uint32_t number;
	uint16_t port;

	memcpy(bytes, at, len < sizeof(bytes) ? len : sizeof(bytes));
	memcpy(&number, bytes, sizeof(number));
	memcpy(&port, bytes, sizeof(port));
	switch (field) {
	case LB_NFT_FIELD_NUMBER:
		return snprintf(out, size, "%u", number);
	case LB_NFT_FIELD_NAME:
		return snprintf(out, size, "%.16s", (const char *)bytes);
	case LB_NFT_FIELD_PORT:
		return snprintf(out, size, "%u", ntohs(port));
	case LB_NFT_FIELD_PROTO:
		return snprintf(out, size, "%s",
				bytes[0] == IPPROTO_TCP   ? "tcp"
				: bytes[0] == IPPROTO_UDP ? "udp"
							  : "?");
	default:
		inet_ntop(field == LB_NFT_FIELD_V4 ? AF_INET : AF_INET6, bytes, out, size);
		return (int)strlen(out);
	}
}

static void bytes_text(char *out, size_t size, const uint8_t *fields, const uint8_t *at, size_t len)
{
	size_t used = 0;

	*out = '\0';
	for (int i = 0; i < LB_NFT_FIELDS_MAX && fields[i] != LB_NFT_FIELD_END && len; i++) {
		size_t field = field_size(fields[i]) < len ? field_size(fields[i]) : len;

		used += snprintf(out + used, size - used, "%s", i ? " . " : "");
		used += field_text(out + used, size - used, fields[i], at, field);
		at += field;
		len -= field;
	}
}

/* ---------------------------------------------------------------- elements */

struct reading {
	struct lb_nft_elements *all;
	const char *set;
	struct lb_nft_format format;
	struct nftnl_set *container; /* what one message of the dump holds */
};

static int udata_comment(const struct nftnl_udata *attr, void *arg)
{
	if (nftnl_udata_type(attr) == NFTNL_UDATA_SET_ELEM_COMMENT)
		snprintf(arg, NFTNL_UDATA_COMMENT_MAXLEN + 1, "%.*s", nftnl_udata_len(attr),
			 (const char *)nftnl_udata_get(attr));
	return 0;
}

static int expr_counter(struct nftnl_expr *e, void *arg)
{
	struct lb_nft_element *to = arg;

	if (!strcmp(nftnl_expr_get_str(e, NFTNL_EXPR_NAME), "counter")) {
		to->packets = nftnl_expr_get_u64(e, NFTNL_EXPR_CTR_PACKETS);
		to->bytes = nftnl_expr_get_u64(e, NFTNL_EXPR_CTR_BYTES);
	}
	return 0;
}

static int element_read(struct nftnl_set_elem *e, void *arg)
{
	char key[256], value[256] = "";
	struct reading *r = arg;
	const void *bytes;
	uint32_t len;

	bytes = nftnl_set_elem_get(e, NFTNL_SET_ELEM_KEY, &len);
	if (!bytes)
		return 0;
	bytes_text(key, sizeof(key), r->format.key, bytes, len);
	if (*r->format.data) {
		bytes = nftnl_set_elem_get(e, NFTNL_SET_ELEM_DATA, &len);
		if (bytes)
			bytes_text(value, sizeof(value), r->format.data, bytes, len);
	} else if (nftnl_set_elem_is_set(e, NFTNL_SET_ELEM_USERDATA)) {
		bytes = nftnl_set_elem_get(e, NFTNL_SET_ELEM_USERDATA, &len);
		nftnl_udata_parse(bytes, len, udata_comment, value);
	}
	lb_nft_element_add(r->all, r->set, key, value);
	if (!r->all->no_memory)
		nftnl_set_elem_expr_foreach(e, expr_counter, &r->all->list[r->all->n - 1]);
	return 0;
}

static int message_read(const struct nlmsghdr *nlh, void *arg)
{
	struct nftnl_set *s = nftnl_set_alloc();
	struct reading *r = arg;

	if (!s || nftnl_set_elems_nlmsg_parse(nlh, s)) {
		nftnl_set_free(s);
		errno = ENOMEM;
		return MNL_CB_ERROR;
	}
	nftnl_set_elem_foreach(s, element_read, r);
	nftnl_set_free(s);
	return r->all->no_memory ? MNL_CB_ERROR : MNL_CB_OK;
}

static int set_read(struct lb_nl *nl, const char *table, struct reading *r)
{
	struct nftnl_set *s = nftnl_set_alloc();
	char buf[512];
	struct nlmsghdr *req;
	int ret;

	if (!s)
		return -ENOMEM;
	req = nftnl_nlmsg_build_hdr(buf, NFT_MSG_GETSETELEM, NFPROTO_INET, NLM_F_DUMP, 0);
	nftnl_set_set_str(s, NFTNL_SET_TABLE, table);
	nftnl_set_set_str(s, NFTNL_SET_NAME, r->set);
	nftnl_set_elems_nlmsg_build_payload(req, s);
	nftnl_set_free(s);
	ret = lb_nl_request(nl, req, message_read, r);
	return r->all->no_memory ? -ENOMEM : ret;
}

#define READ_TRIES 20 /* a dump during which somebody changes the set must be begun anew */

int lb_nft_set_read(const struct lb_nft_table *t, const char *set, struct lb_nft_elements *all,
		    struct lb_err *err)
{
	struct reading r = {.all = all, .set = set};
	size_t before = all->n;
	struct lb_nl nl;
	int ret;

	if (!format_of(t, set, &r.format))
		return 0;
	ret = lb_nl_open(&nl, NETLINK_NETFILTER);
	if (ret)
		return lb_err_sys(err, -ret, "opening netlink");
	ret = -EINTR;
	for (int i = 0; i < READ_TRIES && ret == -EINTR; i++) {
		lb_nft_elements_cut(all, before);
		ret = set_read(&nl, t->name, &r);
	}
	lb_nl_close(&nl);
	return ret ? lb_err_sys(err, -ret, "reading set \"%s\" of table \"inet %s\"", set, t->name)
		   : 0;
}
