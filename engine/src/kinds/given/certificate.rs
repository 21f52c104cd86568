//! Certificates as documents, there and back.

use documents::solution::{CertificateDocument, ReasonDocument, RoundDocument};
use planner::given::max_load::certificate::{Certificate, Reason, Round};

/// The document of a certificate.
pub fn document(certificate: &Certificate) -> CertificateDocument {
    let pairs = |pairs: &[(u32, u32)]| pairs.iter().map(|(a, b)| [*a, *b]).collect();
    let round = |round: &Round| RoundDocument {
        pairs: pairs(&round.pairs),
        off_accelerators: round.off_accelerators.clone(),
    };
    CertificateDocument {
        limit_ns: certificate.limit_ns,
        followers: pairs(&certificate.followers),
        rounds: certificate.rounds.iter().map(round).collect(),
        order: certificate.order.clone(),
        reason: match &certificate.reason {
            Reason::NoDevice => ReasonDocument::NoDevice,
            Reason::Exhausted => ReasonDocument::Exhausted,
            Reason::Prices { price, byte_price } => {
                ReasonDocument::Prices { price: price.clone(), byte_price: *byte_price }
            }
        },
    }
}

/// The certificate of a document.
pub(super) fn certificate(document: &CertificateDocument) -> Certificate {
    let pairs = |pairs: &[[u32; 2]]| pairs.iter().map(|[a, b]| (*a, *b)).collect();
    let round = |round: &RoundDocument| Round {
        pairs: pairs(&round.pairs),
        off_accelerators: round.off_accelerators.clone(),
    };
    Certificate {
        limit_ns: document.limit_ns,
        followers: pairs(&document.followers),
        rounds: document.rounds.iter().map(round).collect(),
        order: document.order.clone(),
        reason: match &document.reason {
            ReasonDocument::NoDevice => Reason::NoDevice,
            ReasonDocument::Exhausted => Reason::Exhausted,
            ReasonDocument::Prices { price, byte_price } => {
                Reason::Prices { price: price.clone(), byte_price: *byte_price }
            }
        },
    }
}
