//! AIConfigurator's composition of an aggregated worker from the seconds of two steps, with its constants
//! (AIConfigurator 0.12.0). Not used by plans: [`super::closed_form`] derives queueing instead.

/// An engine, as far as the composition differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// vLLM.
    Vllm,
    /// TensorRT-LLM.
    Trtllm,
    /// SGLang.
    Sglang,
}

/// A worker and its traffic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// Who schedules.
    pub engine: Engine,
    /// Layers of the model.
    pub n_layers: u32,
    /// Tokens of a prompt.
    pub n_input: u32,
    /// Tokens of an answer.
    pub n_output: u32,
    /// Requests under way on an attention data-parallel rank.
    pub batch: u32,
    /// Prompt tokens of an iteration; those of a prompt without chunked prefill.
    pub context_tokens: u32,
    /// Tokens that a decode step yields: 1 without speculative decoding.
    pub accepted: f64,
    /// Pipeline stages times attention data-parallel ranks.
    pub n_ranks: u32,
}

/// What the composition says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Composed {
    /// Steps with prompts in them, until all prompts of a batch have been computed.
    pub n_mixed: f64,
    /// Steps that only decode.
    pub n_decode: f64,
    /// Seconds to the first token.
    pub ttft_s: f64,
    /// Seconds between tokens.
    pub tpot_s: f64,
    /// Output tokens/s of the worker.
    pub tokens_per_s: f64,
}

impl Setting {
    fn n_mixed(&self) -> f64 {
        let n_tokens = u64::from(self.n_input) * u64::from(self.batch);
        n_tokens.div_ceil(u64::from(self.context_tokens.max(1))) as f64
    }

    /// Decode iterations of a request.
    fn n_iterations(&self) -> f64 {
        1.0 + f64::from(self.n_output.saturating_sub(1)) / self.accepted
    }

    /// Requests that decode in a mixed step.
    #[must_use]
    pub fn n_decoding(&self) -> u32 {
        let others = self.context_tokens.div_ceil(self.n_input.max(1));
        let (n_mixed, n_iterations) = (self.n_mixed(), self.n_iterations());
        if self.batch == 1 {
            0
        } else if self.engine != Engine::Vllm && n_mixed >= n_iterations {
            ((f64::from(self.batch) * n_iterations / n_mixed) as u32).max(1)
        } else {
            self.batch.saturating_sub(others).max(1)
        }
    }

    /// The composition of a mixed step and one that only decodes, seconds each.
    #[must_use]
    pub fn compose(&self, mixed_s: f64, decode_s: f64) -> Composed {
        let is_single = self.batch == 1;
        let n_mixed = if is_single { 1.0 } else { self.n_mixed() };
        let n_decode = (self.n_iterations() - n_mixed).max(0.0);
        let (counted, delay_s, queueing) = match self.engine {
            Engine::Vllm => {
                let queueing = (1.0 + f64::from(self.batch).log2() / 8.0).min(2.0);
                (n_mixed, 0.000_8 * f64::from(self.n_layers), queueing)
            }
            Engine::Trtllm | Engine::Sglang => {
                let queueing = (2.0 + (self.n_mixed() - 3.0) / 20.0).min(4.0);
                ((n_mixed - 3.0).max(1.0), 0.0, queueing)
            }
        };
        let counted = if is_single { 0.0 } else { counted };
        let steps_s = mixed_s * counted + decode_s * n_decode;
        let tpot_s = steps_s / (counted + n_decode) / self.accepted;
        let n_chunks = self.n_input.div_ceil(self.context_tokens.max(1));
        let ttft_s = (mixed_s * f64::from(n_chunks) + delay_s) * queueing;
        let n_gaps = f64::from(self.n_output.saturating_sub(1));
        let n_tokens = f64::from(self.batch) * n_gaps;
        let mut tokens_per_s = n_tokens / (n_mixed * mixed_s + n_decode * decode_s);
        if self.engine == Engine::Vllm {
            tokens_per_s = tokens_per_s.min(n_tokens / (ttft_s + tpot_s * n_gaps));
        }
        let tokens_per_s = tokens_per_s * f64::from(self.n_ranks);
        Composed { n_mixed, n_decode, ttft_s, tpot_s, tokens_per_s }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qwen3_32b(engine: Engine) -> Setting {
        Setting {
            engine,
            n_layers: 64,
            n_input: 4_000,
            n_output: 1_000,
            batch: 64,
            context_tokens: 4_000,
            accepted: 1.0,
            n_ranks: 1,
        }
    }

    fn llama_8b(batch: u32) -> Setting {
        let (n_input, n_output) = (1_024, 128);
        let shape = Setting { n_layers: 32, n_input, n_output, batch, ..qwen3_32b(Engine::Vllm) };
        Setting { context_tokens: n_input, ..shape }
    }

    /// Milliseconds that `aiconfigurator cli estimate` 0.12.0 prints (H200; H100 for Llama 3.1 8B): of a
    /// mixed and a decode step; TTFT, TPOT; tokens/s.
    #[test]
    fn printed_estimates_are_composed() {
        let rows = [
            (qwen3_32b(Engine::Vllm), [134.341, 12.479], [324.697, 20.278, 3_106.27]),
            (qwen3_32b(Engine::Trtllm), [138.475, 13.040], [553.899, 20.715, 3_034.73]),
            (qwen3_32b(Engine::Sglang), [136.856, 11.698], [547.424, 19.355, 3_244.17]),
            (llama_8b(16), [24.256, 7.564], [74.784, 9.651, 1_562.57]),
            (llama_8b(1), [22.109, 6.184], [47.709, 6.184, 152.44]),
        ];
        for (setting, [mixed, decode], [ttft, tpot, rate]) in rows {
            let said = setting.compose(mixed / 1e3, decode / 1e3);
            let pairs = [(said.ttft_s * 1e3, ttft), (said.tpot_s * 1e3, tpot)];
            // Printed steps are rounded to 0.5 us.
            for (said, printed) in pairs {
                assert!((said - printed).abs() < 0.003, "{setting:?}: {said} {printed}");
            }
            let error = said.tokens_per_s / rate - 1.0;
            assert!(error.abs() < 1e-4, "{setting:?}: {} {rate}", said.tokens_per_s);
        }
        let setting = qwen3_32b(Engine::Vllm);
        let said = setting.compose(1.0, 1.0);
        assert_eq!((said.n_mixed, said.n_decode, setting.n_decoding()), (64.0, 936.0, 63));
    }
}
