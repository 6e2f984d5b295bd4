"""The operators that the code or the graph of a model file may name.

Most operators of torch (`torch._C._jit_get_all_schemas()`) only compute on tensors. Others do more:

- They read and write files (`aten::save`, `aten::from_file`) or print.
- They call other processes (`prim::rpc_*`, `c10d::*`).
- They set the global random state.
- They take sizes, strides and indices unchecked, and so access memory outside of the tensor. The names of these begin with an
  underscore, which marks private operators of torch.
"""

from __future__ import annotations

import torch

__all__ = ["NAMESPACES", "reason_forbidden"]

NAMESPACES = ("aten", "prim", "prims", "quantized", "quantized_decomposed", "torchvision")
"""Namespaces of operators in image classifiers; the others belong to distributed runs, compilers or third-party libraries."""

_FORBIDDEN = {
    "save": "writes files",
    "from_file": "opens files",
    "manual_seed": "sets the global random state",
    "seed": "sets the global random state",
    "set_": "takes another tensor's memory",
    "set_data": "takes another tensor's memory",
    "record_stream": "changes how memory is freed",
} | dict.fromkeys(
    (
        "segment_reduce",
        "sparse_bsc_tensor",
        "sparse_bsr_tensor",
        "sparse_compressed_tensor",
        "sparse_coo_tensor",
        "sparse_csc_tensor",
        "sparse_csr_tensor",
    ),
    "can skip the checks of its arguments",
)
_PRIM = (
    "AutogradZero EnumName EnumValue IfThenElse ModuleContainerIndex NumToTensor RaiseException StringIndex "
    "TupleIndex TupleUnpack Uninitialized abs data device dtype id index is_cpu is_cuda is_meta is_mkldnn "
    "is_mps is_nested is_quantized is_sparse is_xpu itemsize layout max min nbytes rangelist requires_grad "
    "tolist type unchecked_cast unchecked_unwrap_optional"
)
# Tracing, scripting and exporting write these themselves, and they check their arguments.
_PRIVATE = (
    "_adaptive_avg_pool2d _addmm_activation _assert_async _assert_scalar _assert_tensor_metadata "
    "_batch_norm_impl_index _batch_norm_no_update _cast_Double _cast_Float _cast_Half _cast_Int _cast_Long "
    "_cdist_forward _conj _convolution _convolution_mode _euclidean_dist _fft_c2c _fft_c2r _fft_r2c "
    "_fused_rms_norm _is_all_true _is_any_true _linalg_svd _local_scalar_dense _log_softmax "
    "_native_batch_norm_legit _native_batch_norm_legit_functional _native_batch_norm_legit_no_training _native_multi_head_attention "
    "_nested_tensor_from_mask _nested_tensor_from_mask_left_aligned _prelu_kernel "
    "_scaled_dot_product_attention_math _scaled_dot_product_cudnn_attention "
    "_scaled_dot_product_efficient_attention _scaled_dot_product_flash_attention "
    "_scaled_dot_product_flash_attention_for_cpu _set_item _shape_as_tensor _softmax _stack _to_copy "
    "_transformer_encoder_layer_fwd _trilinear _unique2 _unsafe_view _upsample_bicubic2d_aa "
    "_upsample_bilinear2d_aa _upsample_nearest_exact1d _upsample_nearest_exact2d _weight_norm "
    "_weight_norm_interface"
)


def reason_forbidden(namespace: str, name: str) -> str | None:
    """Return the reason why a file may not name the operator `namespace::name`; None if it may, or if there is no such operator."""
    if namespace not in NAMESPACES:
        return "is from no library that image classifiers need"
    if namespace == "prim":
        return None if name in _PRIM.split() else "is no computation"
    if namespace == "prims" and name.startswith("inductor_"):
        return "belongs to a compiler"
    if namespace != "aten":
        return None
    if name in _FORBIDDEN:
        return _FORBIDDEN[name]
    is_private = name.startswith("_") and not name.startswith("__")  # __is__ and __contains__ belong to the language.
    if is_private and name not in _PRIVATE.split() and torch._C._jit_get_schemas_for_operator(f"aten::{name}"):
        return "is private to torch and may not check its arguments"
    return None
