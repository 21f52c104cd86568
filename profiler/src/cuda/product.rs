//! One matrix product of cuBLASLt, prepared to run many times.

#![allow(unsafe_code, reason = "cuBLASLt has a C interface; each call says why it is sound")]

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::cublaslt::{result, sys};
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr, DevicePtrMut};
use ir::diagnostic::Diagnostic;
use ir::tensor::DType;

use super::failed;

/// Scratch memory that cuBLASLt may use: NVIDIA recommends 32 MiB on Hopper and later.
pub(super) const WORKSPACE: usize = 32 << 20;

/// The library's handle.
pub(super) struct Handle(sys::cublasLtHandle_t);

impl Handle {
    pub(super) fn new() -> Result<Self, Diagnostic> {
        result::create_handle().map(Self).map_err(|e| failed("start cuBLASLt", e))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle was created in `new` and is destroyed once. A failure leaks it.
        let _leaked = unsafe { result::destroy_handle(self.0) };
    }
}

struct Layout(sys::cublasLtMatrixLayout_t);

impl Layout {
    /// Column-major, as BLAS stores matrices.
    fn new(kind: sys::cudaDataType, rows: u64, columns: u64) -> Result<Self, Diagnostic> {
        let leading = i64::try_from(rows).map_err(|e| failed("hold so large a matrix", e))?;
        result::create_matrix_layout(kind, rows, columns, leading)
            .map(Self)
            .map_err(|e| failed("describe a matrix", e))
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        // SAFETY: created in `new`, destroyed once. A failure leaks it.
        let _leaked = unsafe { result::destroy_matrix_layout(self.0) };
    }
}

struct Description(sys::cublasLtMatmulDesc_t);

impl Drop for Description {
    fn drop(&mut self) {
        // SAFETY: created in `Product::new`, destroyed once. A failure leaks it.
        let _leaked = unsafe { result::destroy_matmul_desc(self.0) };
    }
}

struct Preference(sys::cublasLtMatmulPreference_t);

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: created in `Product::new`, destroyed once. A failure leaks it.
        let _leaked = unsafe { result::destroy_matmul_pref(self.0) };
    }
}

/// A product with its operands on the device.
pub(super) struct Product {
    description: Description,
    layouts: [Layout; 3],
    algorithm: sys::cublasLtMatmulHeuristicResult_t,
    a: CudaSlice<u8>,
    b: CudaSlice<u8>,
    c: CudaSlice<u8>,
}

impl Product {
    /// Allocates zeroed operands and lets the library choose an algorithm.
    pub(super) fn new(
        handle: &Handle,
        stream: &Arc<CudaStream>,
        dtype: DType,
        [m, k, n]: [u64; 3],
    ) -> Result<Self, Diagnostic> {
        let kind = match dtype {
            DType::Bf16 => sys::cudaDataType_t::CUDA_R_16BF,
            DType::F16 => sys::cudaDataType_t::CUDA_R_16F,
            DType::F32 => sys::cudaDataType_t::CUDA_R_32F,
            other => return Err(failed("multiply matrices of this type", other.name())),
        };
        let layouts =
            [Layout::new(kind, m, k)?, Layout::new(kind, k, n)?, Layout::new(kind, m, n)?];
        let accumulate = sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        let scale = sys::cudaDataType_t::CUDA_R_32F;
        let description = result::create_matmul_desc(accumulate, scale)
            .map(Description)
            .map_err(|e| failed("describe a product", e))?;
        let algorithm = choose(handle, &description, &layouts)?;
        let operand = |rows: u64, columns: u64| {
            let bytes = rows.checked_mul(columns).and_then(|elements| dtype.size_of(elements));
            let bytes = bytes.and_then(|bytes| usize::try_from(bytes.get()).ok());
            let bytes = bytes.ok_or_else(|| failed("hold so large a matrix", (rows, columns)))?;
            stream.alloc_zeros::<u8>(bytes).map_err(|e| failed("allocate a matrix", e))
        };
        let (a, b, c) = (operand(m, k)?, operand(k, n)?, operand(m, n)?);
        Ok(Self { description, layouts, algorithm, a, b, c })
    }

    /// Puts one run into the stream.
    pub(super) fn launch(
        &mut self,
        handle: &Handle,
        stream: &Arc<CudaStream>,
        workspace: &mut CudaSlice<u8>,
    ) -> Result<(), Diagnostic> {
        let (one, zero) = (1.0_f32, 0.0_f32);
        let [a_layout, b_layout, c_layout] = &self.layouts;
        let (a, _a) = self.a.device_ptr(stream);
        let (b, _b) = self.b.device_ptr(stream);
        let (c, _c) = self.c.device_ptr_mut(stream);
        let (scratch, _scratch) = workspace.device_ptr_mut(stream);
        // SAFETY: the layouts describe exactly the allocations behind `a`, `b` and `c`, which live
        // as long as `self`; the workspace is WORKSPACE bytes; the scalars are fp32 on the host,
        // as the description says, and are read before the call returns.
        unsafe {
            result::matmul(
                handle.0,
                self.description.0,
                (&raw const one).cast::<c_void>(),
                (&raw const zero).cast::<c_void>(),
                a as *const c_void,
                a_layout.0,
                b as *const c_void,
                b_layout.0,
                c as *const c_void,
                c_layout.0,
                c as *mut c_void,
                c_layout.0,
                &raw const self.algorithm.algo,
                scratch as *mut c_void,
                WORKSPACE,
                stream.cu_stream().cast(),
            )
        }
        .map_err(|e| failed("multiply matrices", e))
    }
}

fn choose(
    handle: &Handle,
    description: &Description,
    [a, b, c]: &[Layout; 3],
) -> Result<sys::cublasLtMatmulHeuristicResult_t, Diagnostic> {
    let preference = result::create_matmul_pref()
        .map(Preference)
        .map_err(|e| failed("describe a preference", e))?;
    let most: usize = WORKSPACE;
    let attribute =
        sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
    // SAFETY: the attribute is a 64-bit size, which `most` is, and it is copied by the call.
    unsafe {
        let value = (&raw const most).cast::<c_void>();
        result::set_matmul_pref_attribute(preference.0, attribute, value, size_of::<usize>())
    }
    .map_err(|e| failed("set a preference", e))?;
    // SAFETY: every handle was created above or by the caller and is alive.
    unsafe {
        result::get_matmul_algo_heuristic(handle.0, description.0, a.0, b.0, c.0, c.0, preference.0)
    }
    .map_err(|e| failed("find an algorithm for a product", e))
}
