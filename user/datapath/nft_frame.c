// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * nft_frame.c - a table's chains and rules as they should be: chains by what they are, rules by a
 * hash of all that they consist of, which the apply that has made them leaves in the table.
 */
#include <netinet/in.h> /* before the kernel's headers, which else define the same */

#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nft_table.h"

const struct lb_nft_chain *lb_nft_chain_find(const struct lb_nft_state *s, const char *name)
{
	for (size_t i = 0; i < s->n_chains; i++)
		if (!strcmp(s->chains[i].name, name))
			return &s->chains[i];
	return NULL;
}

void lb_nft_chains_audit(struct lb_findings *f, const struct lb_nft_state *s,
			 const struct lb_nft_chain *chains, size_t n)
{
	if (s->flags & NFT_TABLE_F_DORMANT)
		lb_found(f, "the table is dormant");
	for (size_t i = 0; i < n; i++) {
		const struct lb_nft_chain *should = &chains[i];
		const struct lb_nft_chain *is = lb_nft_chain_find(s, should->name);

		if (!is)
			lb_found(f, "chain \"%s\" is missing", should->name);
		else if (is->hook != should->hook || strcmp(is->type, should->type) != 0 ||
			 is->priority != should->priority || is->policy != should->policy)
			lb_found(f, "chain \"%s\" has another hook, priority or policy",
				 should->name);
	}
	for (size_t i = 0; i < s->n_chains; i++) {
		size_t k = 0;

		while (k < n && strcmp(s->chains[i].name, chains[k].name) != 0)
			k++;
		if (k == n)
			lb_found(f, "chain \"%s\" is nobody's", s->chains[i].name);
	}
}

void lb_nft_text_output(struct lb_text *t, const char *table)
{
	lb_text_add(t,
		    "add rule inet %s output oifname @" LB_NFT_SET_INTERFACES
		    " icmp type redirect drop comment \"" LB_NFT_RULE_REDIRECT "4\"\n"
		    "add rule inet %s output oifname @" LB_NFT_SET_INTERFACES
		    " icmpv6 type nd-redirect drop comment \"" LB_NFT_RULE_REDIRECT "6\"\n",
		    table, table);
}

static const char *rules_text(const struct lb_nft_table *t, char buf[32])
{
	snprintf(buf, 32, "rules 2 %016llx", (unsigned long long)t->state->rules_hash);
	return buf;
}

bool lb_nft_rules_are_noted(const struct lb_nft_table *t)
{
	const struct lb_nft_element *note =
		lb_nft_element_find(&t->state->elements, LB_NFT_SET_MODEL, LB_NFT_KEY_RULES);
	char hash[32];

	return note && !strcmp(note->value, rules_text(t, hash));
}

int lb_nft_rules_note(struct lb_nft_table *t, struct lb_err *err)
{
	struct lb_text text = {};
	int ret = lb_nft_list(t, LB_NFT_FRAME, err);
	char hash[32];

	if (ret)
		return ret;
	if (lb_nft_element_find(&t->state->elements, LB_NFT_SET_MODEL, LB_NFT_KEY_RULES))
		lb_text_add(&text,
			    "delete element inet %s " LB_NFT_SET_MODEL " { " LB_NFT_KEY_RULES
			    " }\n",
			    t->name);
	lb_text_add(&text,
		    "add element inet %s " LB_NFT_SET_MODEL " { " LB_NFT_KEY_RULES
		    " comment \"%s\" }\n",
		    t->name, rules_text(t, hash));
	ret = text.no_memory ? lb_err_sys(err, ENOMEM, "noting the rules")
			     : lb_nft_run(t, text.s, "noting the rules", err);
	free(text.s);
	return ret;
}
