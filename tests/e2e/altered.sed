# Makes of include/lb_abi.h another ABI, with layouts by which whoever reads it as the present one
# reads nonsense. For migrate.sh.
s/^\(#define LB_ABI_VERSION\) .*/\1 254/
# Other bits in meta and in ref.
s/^\(#define LB_META_TICK_BITS\) .*/\1 17/
s/^\(#define LB_REF_BACKEND_BITS\) .*/\1 17/
# Fields in another order, and more of them.
/^struct lb_config {/,/^}/ {
	/secret\[/d
	/created;/a\	__u64 secret[LB_SECRET_WORDS];
}
/^struct lb_service {/,/^}/ s/^\t__u32 pad;/\t__u32 pad[3];/
/^struct lb_member {/a\	__u64 altered;
/^struct lb_backend {/a\	__u32 altered[2];
/^struct lb_seqs[46] {/a\	__u64 altered;
/^union lb_conn_key {/,/^};/ {
	/__u32 ref;/d
	s/^\t\t};/&\n\t\t__u32 ref;/
}
/^struct lb_conn6_bucket {/,/^}/ {
	/union lb_conn_key key\[/d
	s/^\t} addr\[LB_CONN6_SLOTS\];/&\n\tunion lb_conn_key key[LB_CONN6_SLOTS];/
}
