//! Answers to our PING that come in two reads.

use tokio::time::sleep;

use crate::frames::*;
use crate::pipes::*;
use crate::support::*;

#[tokio::test(start_paused = true)]
async fn requests_behind_an_answer_to_ping_that_comes_in_two_reads_are_served() {
    for cut in 1..17 {
        let (shutdown, handle) = exact(cluster());
        let (door, listener) = pipes();
        lameduck::serve(listener, hello(), &handle);
        let mut client = door.http2().await;
        sleep(seconds(2)).await;

        let run = begin(shutdown);
        let answer = client.frame_of(PING).await.answer();
        let (first, rest) = answer.split_at(cut);
        client.0.send(first).await;
        sleep(millis(100)).await;
        client.0.send(rest).await;
        sleep(millis(20)).await;
        client.0.send(GET).await;
        let end = client.0.end().await.unwrap();

        let bodies: Vec<_> = frames(&end)
            .into_iter()
            .filter(|frame| frame.kind == DATA)
            .map(|frame| frame.payload)
            .collect();
        assert_eq!(bodies, [b"hello"], "cut at {cut}");
        drop(client);
        assert!(soon(run).await.unwrap().is_clean());
    }
}
