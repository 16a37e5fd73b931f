"""The same for recurrent layers."""

from sgl_kernel import absent_kernel

causal_conv1d_fn_cpu = absent_kernel("mamba.causal_conv1d_fn_cpu")
causal_conv1d_update_cpu = absent_kernel("mamba.causal_conv1d_update_cpu")
chunk_gated_delta_rule_cpu = absent_kernel("mamba.chunk_gated_delta_rule_cpu")
