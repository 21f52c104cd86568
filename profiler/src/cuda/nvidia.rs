//! Tasks on an NVIDIA device, timed by its own events.
//!
//! A batch is put into one stream without waiting between runs, so the start-up cost is that of a
//! kernel behind another one, as in a step that keeps the device busy.

#![allow(unsafe_code, reason = "CUDA has a C interface; each call says why it is sound")]

use std::collections::BTreeMap;
use std::sync::Arc;

use cudarc::driver::sys::{CUdevice_attribute, CUevent_flags};
use cudarc::driver::{
    CudaContext, CudaFunction, CudaSlice, CudaStream, DevicePtr, DevicePtrMut, LaunchConfig,
    PinnedHostSlice, PushKernelArg, result, sys,
};
use ir::diagnostic::{Blame, Diagnostic};

use super::kernels::{FAMILIES, SOURCE};
use super::product::{Handle, Product, WORKSPACE};
use super::{LINKS, PEER, failed};
use crate::driver::Driver;
use crate::measurement::Task;

/// Threads of a block.
const BLOCK: u32 = 256;
/// Blocks per multiprocessor, enough to hide the latency of memory.
const BLOCKS: u32 = 16;

/// One device, and another to copy to.
pub(super) struct Nvidia {
    // What was prepared goes before the context that it lives in.
    prepared: Prepared,
    workspace: CudaSlice<u8>,
    handle: Handle,
    functions: BTreeMap<&'static str, CudaFunction>,
    n_blocks: u32,
    stream: Arc<CudaStream>,
    peer: Option<Arc<CudaStream>>,
    context: Arc<CudaContext>,
}

enum Prepared {
    Nothing,
    Product(Product),
    Kernel { function: CudaFunction, from: CudaSlice<f32>, to: CudaSlice<f32> },
    ToDevice { host: PinnedHostSlice<u8>, device: CudaSlice<u8> },
    ToHost { host: PinnedHostSlice<u8>, device: CudaSlice<u8> },
    Peer { from: CudaSlice<u8>, to: CudaSlice<u8> },
}

impl Nvidia {
    pub(super) fn open(device: usize, peer: Option<usize>) -> Result<Self, Diagnostic> {
        let context = CudaContext::new(device).map_err(|e| failed("start", e))?;
        // SAFETY: all work of this driver goes through one stream, which orders it; no slice is
        // used in another stream while that one writes it.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(|e| failed("make a stream", e))?;
        let source = cudarc::nvrtc::compile_ptx(SOURCE).map_err(|e| failed("compile", e))?;
        let module = context.load_module(source).map_err(|e| failed("load kernels", e))?;
        let mut functions = BTreeMap::new();
        for family in FAMILIES {
            let function = module.load_function(family).map_err(|e| failed("find a kernel", e))?;
            functions.insert(family, function);
        }
        let count = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
        let count = context.attribute(count).map_err(|e| failed("count multiprocessors", e))?;
        let workspace = stream.alloc_zeros(WORKSPACE).map_err(|e| failed("allocate", e))?;
        Ok(Self {
            prepared: Prepared::Nothing,
            workspace,
            handle: Handle::new()?,
            functions,
            n_blocks: u32::try_from(count).unwrap_or(1).saturating_mul(BLOCKS),
            peer: peer.map(|other| open_peer(&context, other)).transpose()?,
            stream,
            context,
        })
    }

    fn launch(&mut self) -> Result<(), Diagnostic> {
        let stream = &self.stream;
        match &mut self.prepared {
            Prepared::Nothing => Err(Diagnostic::error(
                Blame::Internal,
                "internal",
                "a task was run before it was prepared",
            )),
            Prepared::Product(product) => product.launch(&self.handle, stream, &mut self.workspace),
            Prepared::Kernel { function, from, to } => {
                let n = from.len();
                let blocks = u32::try_from(n.div_ceil(BLOCK as usize)).unwrap_or(u32::MAX);
                let shape = LaunchConfig {
                    grid_dim: (blocks.clamp(1, self.n_blocks), 1, 1),
                    block_dim: (BLOCK, 1, 1),
                    shared_mem_bytes: 0,
                };
                let mut launch = stream.launch_builder(function);
                launch.arg(to).arg(&*from).arg(&n);
                // SAFETY: each kernel takes (float *, const float *, size_t) and touches the
                // first `n` elements alone, which both slices have.
                unsafe { launch.launch(shape) }.map(drop).map_err(|e| failed("run a kernel", e))
            }
            Prepared::ToDevice { host, device } => {
                stream.memcpy_htod(host, device).map_err(|e| failed("copy from the host", e))
            }
            Prepared::ToHost { host, device } => {
                stream.memcpy_dtoh(device, host).map_err(|e| failed("copy to the host", e))
            }
            Prepared::Peer { from, to } => copy_to_peer(stream, from, to),
        }
    }

    fn link(&self, link: &str, bytes: u64) -> Result<Prepared, Diagnostic> {
        let bytes = usize::try_from(bytes).map_err(|e| failed("copy so much", e))?;
        let allocate = |stream: &Arc<CudaStream>| {
            stream.alloc_zeros::<u8>(bytes).map_err(|e| failed("allocate", e))
        };
        let device = allocate(&self.stream)?;
        if link == PEER {
            let Some(peer) = &self.peer else { return Err(failed("find a peer", link)) };
            return Ok(Prepared::Peer { from: device, to: allocate(peer)? });
        }
        // SAFETY: the bytes are not read before they are written: copies to the device move
        // whatever is there, and nothing looks at it.
        let host = unsafe { self.context.alloc_pinned::<u8>(bytes) };
        let host = host.map_err(|e| failed("pin host memory", e))?;
        match LINKS.iter().position(|known| *known == link) {
            Some(0) => Ok(Prepared::ToDevice { host, device }),
            Some(_) => Ok(Prepared::ToHost { host, device }),
            None => Err(failed("find a link", link)),
        }
    }
}

impl Driver for Nvidia {
    fn prepare(&mut self, task: &Task) -> Result<(), Diagnostic> {
        self.prepared = Prepared::Nothing;
        self.prepared = match task {
            Task::Product { dtype, m, k, n } => {
                Prepared::Product(Product::new(&self.handle, &self.stream, *dtype, [*m, *k, *n])?)
            }
            Task::Stream { family, bytes } => {
                let function = self.functions.get(family.as_str()).cloned();
                let function = function.ok_or_else(|| failed("find a kernel", family))?;
                // One read and one write of four bytes per element.
                let n = usize::try_from(bytes / 8).map_err(|e| failed("move so much", e))?;
                let allocate =
                    || self.stream.alloc_zeros::<f32>(n).map_err(|e| failed("allocate", e));
                Prepared::Kernel { function, from: allocate()?, to: allocate()? }
            }
            Task::Transfer { link, bytes } => self.link(link, *bytes)?,
        };
        self.context.synchronize().map_err(|e| failed("get ready", e))
    }

    fn run(&mut self, runs: u32) -> Result<f64, Diagnostic> {
        let event = || {
            let flags = Some(CUevent_flags::CU_EVENT_DEFAULT);
            self.context.new_event(flags).map_err(|e| failed("make an event", e))
        };
        let (start, end) = (event()?, event()?);
        start.record(&self.stream).map_err(|e| failed("record an event", e))?;
        for _ in 0..runs {
            self.launch()?;
        }
        end.record(&self.stream).map_err(|e| failed("record an event", e))?;
        let milliseconds = start.elapsed_ms(&end).map_err(|e| failed("read its clock", e))?;
        Ok(f64::from(milliseconds) * 1e-3)
    }
}

/// Another device that copies straight from this one where the two can; else through the host.
fn open_peer(context: &Arc<CudaContext>, other: usize) -> Result<Arc<CudaStream>, Diagnostic> {
    let peer = CudaContext::new(other).map_err(|e| failed("start its peer", e))?;
    // SAFETY: as for the first device; copies between the two are in the first one's stream, and
    // memory of the peer is used by nothing else.
    unsafe { peer.disable_event_tracking() };
    context.bind_to_thread().map_err(|e| failed("start", e))?;
    // SAFETY: both contexts are alive. Where peer access is impossible or on already, the call
    // changes nothing, and copies take the way that the driver finds.
    let _way = unsafe { sys::cuCtxEnablePeerAccess(peer.cu_ctx(), 0) };
    peer.new_stream().map_err(|e| failed("make a stream", e))
}

fn copy_to_peer(
    stream: &Arc<CudaStream>,
    from: &CudaSlice<u8>,
    to: &mut CudaSlice<u8>,
) -> Result<(), Diagnostic> {
    let bytes = from.len().min(to.len());
    let there = to.context().cu_ctx();
    stream.context().bind_to_thread().map_err(|e| failed("start", e))?;
    let (source, _source) = from.device_ptr(stream);
    let (target, _target) = to.device_ptr_mut(stream);
    let (here, queue) = (stream.context().cu_ctx(), stream.cu_stream());
    // SAFETY: both slices are alive and at least `bytes` long, each in the context it is named with.
    unsafe { result::memcpy_peer_async(there, target, here, source, bytes, queue) }
        .map_err(|e| failed("copy to its peer", e))
}
