//! Request heads: the verdict does not depend on how the bytes come, and hyper's parser takes what the check lets pass.
//!
//! The first byte of the input says how many bytes come at a time; 0: all.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outrider::http::head::{HeadCheck, HeadLimits, Verdict};

fuzz_target!(|input: &[u8]| {
    let Some((&step, head)) = input.split_first() else { return };
    let limits = HeadLimits::default();
    let whole = HeadCheck::default().check(head, &limits);

    let mut check = HeadCheck::default();
    let mut cut = Verdict::Partial;
    let mut received = 0;
    while received < head.len() && cut == Verdict::Partial {
        received = if step == 0 { head.len() } else { head.len().min(received + usize::from(step)) };
        cut = check.check(&head[..received], &limits);
    }
    assert_eq!(whole, cut);
    assert_eq!(check.known(&head[..received]).is_some(), check.request_line_complete());

    if let Verdict::Complete { len, .. } = whole {
        let mut shown = head[..len].to_vec();
        let (_, len) = check.hide_target(&mut shown);
        let mut headers = [httparse::EMPTY_HEADER; 100];
        let parsed = httparse::Request::new(&mut headers).parse(&shown);
        assert_eq!(parsed, Ok(httparse::Status::Complete(len)));
    }
});
