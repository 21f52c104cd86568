//! Tests of what the importers make of files, in one program.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod benchmarks;
mod configs;
mod corpus;
mod decoders;
mod exported;
mod hostile;
mod instances;
mod joins;
mod judged;
mod odd_joins;
mod onnx_form;
mod onnx_suite;
mod partners;
mod recipes;
mod shells;
mod stablehlo;
mod traces;
mod traces_cut;
mod traces_old;
mod writer;
