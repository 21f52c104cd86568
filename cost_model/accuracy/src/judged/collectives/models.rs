//! Parameter tensors of the trained models, in forward order, with their multiply-adds.

/// A parameter tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tensor {
    /// Elements.
    pub(super) elements: f64,
    /// Multiply-adds of the forward pass, up to a factor common to the model.
    pub(super) work: f64,
}

fn tensor(elements: u32, work: f64) -> Tensor {
    Tensor { elements: f64::from(elements), work }
}

/// Weight and bias (or scale and shift) whose work is that of the weight.
fn pair(tensors: &mut Vec<Tensor>, weight: u32, bias: u32, work: f64) {
    tensors.push(tensor(weight, work));
    tensors.push(tensor(bias, 0.0));
}

/// ResNet-50 (He et al. 2016) on 224 x 224 images: 161 tensors, 25.56 M elements.
pub(super) fn resnet_50() -> Vec<Tensor> {
    let mut tensors = Vec::new();
    let mut convolution = |input: u32, output: u32, window: u32, side: u32| {
        let weight = input * output * window * window;
        tensors.push(tensor(weight, f64::from(weight) * f64::from(side * side)));
        pair(&mut tensors, output, output, 0.0);
    };
    convolution(3, 64, 7, 112);
    let mut input = 64;
    for (width, blocks, side) in [(64, 3, 56), (128, 4, 28), (256, 6, 14), (512, 3, 7)] {
        for block in 0..blocks {
            // The stride sits in the second convolution of the first block of a stage.
            let before = if block == 0 && width > 64 { 2 * side } else { side };
            convolution(input, width, 1, before);
            convolution(width, width, 3, side);
            convolution(width, 4 * width, 1, side);
            if block == 0 {
                convolution(input, 4 * width, 1, side);
            }
            input = 4 * width;
        }
    }
    pair(&mut tensors, 2048 * 1000, 1000, 2_048_000.0);
    tensors
}

/// BERT (Devlin et al. 2019) with both pre-training heads; the word embedding is also the output
/// matrix, so that its gradient is there only at the end, while the output's work comes first.
fn bert(layers: u32, hidden: u32) -> Vec<Tensor> {
    const VOCABULARY: u32 = 30_522;
    const POSITIONS: u32 = 512;
    let mut tensors = Vec::new();
    let square = hidden * hidden;
    for elements in [VOCABULARY * hidden, POSITIONS * hidden, 2 * hidden, hidden, hidden] {
        tensors.push(tensor(elements, 0.0));
    }
    for _ in 0..layers {
        for _ in 0..4 {
            pair(&mut tensors, square, hidden, f64::from(square));
        }
        pair(&mut tensors, hidden, hidden, 0.0);
        pair(&mut tensors, 4 * square, 4 * hidden, f64::from(4 * square));
        pair(&mut tensors, 4 * square, hidden, f64::from(4 * square));
        pair(&mut tensors, hidden, hidden, 0.0);
    }
    // Pooler and sentence head see one token per sequence.
    pair(&mut tensors, square, hidden, 0.0);
    pair(&mut tensors, 2 * hidden, 2, 0.0);
    pair(&mut tensors, square, hidden, f64::from(square));
    pair(&mut tensors, hidden, hidden, 0.0);
    tensors.push(tensor(VOCABULARY, f64::from(VOCABULARY * hidden)));
    tensors
}

/// BERT-Base: 110 M elements.
pub(super) fn bert_base() -> Vec<Tensor> {
    bert(12, 768)
}

/// BERT-Large: 336 M elements.
pub(super) fn bert_large() -> Vec<Tensor> {
    bert(24, 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millions(tensors: &[Tensor]) -> f64 {
        tensors.iter().map(|tensor| tensor.elements).sum::<f64>() / 1e6
    }

    #[test]
    fn sizes_are_those_of_the_papers() {
        assert_eq!(resnet_50().len(), 161);
        assert!((millions(&resnet_50()) - 25.557).abs() < 0.001);
        let work: f64 = resnet_50().iter().map(|tensor| tensor.work).sum();
        assert!((work / 1e9 - 4.09).abs() < 0.05, "{work}");
        assert!((millions(&bert_base()) - 110.1).abs() < 0.1);
        assert!((millions(&bert_large()) - 336.2).abs() < 0.1);
    }
}
