//! Sources of the kernels that only move memory, compiled at run time.

/// Families and the bytes that each moves per element of fp32: one read, one write.
pub(super) const FAMILIES: [&str; 3] = ["copy", "scale", "gelu"];

/// One thread per element, in strides of the grid.
pub(super) const SOURCE: &str = r#"
#define EACH(i) for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; \
                     i += (size_t)gridDim.x * blockDim.x)
extern "C" __global__ void copy(float *to, const float *from, size_t n) {
    EACH(i) to[i] = from[i];
}
extern "C" __global__ void scale(float *to, const float *from, size_t n) {
    EACH(i) to[i] = 1.5f * from[i] + 0.5f;
}
extern "C" __global__ void gelu(float *to, const float *from, size_t n) {
    EACH(i) {
        float x = from[i];
        to[i] = 0.5f * x * (1.0f + tanhf(0.7978845608f * (x + 0.044715f * x * x * x)));
    }
}
"#;
