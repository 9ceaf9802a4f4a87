use super::*;

#[test]
fn way_3_having_the_server_echo_it() {
    let echo = with(words(&["ECHO"]), vec![Piece::Secret(own(Role::Pending))]);
    assert_eq!(redis_refuses(&echo).preview, "ECHO …");
    let eval = frame(vec![
        vec![Piece::text("EVAL")],
        vec![
            Piece::text("return '"),
            Piece::Secret(own(Role::Pending)),
            Piece::text("'"),
        ],
        vec![Piece::text("0")],
    ]);
    assert_eq!(redis_refuses(&eval).reason, Reason::NoShape);
}

#[test]
fn way_4_storing_it_under_a_key_and_reading_ranges() {
    let set = with(words(&["SET", "k"]), vec![Piece::Secret(own(Role::Pending))]);
    assert_eq!(redis_refuses(&set).reason, Reason::NoShape);
    // Its second half carries no secret; on the channel that did, only declared frames go on.
    let range = frame(words(&["GETRANGE", "k", "0", "0"]));
    let redis = plugin("redis");
    assert_eq!(redis.find_shape(&range, &redis_configuration()), Ok(None));
    assert_eq!(
        redis
            .require_shape(&range, &redis_configuration())
            .unwrap_err()
            .reason,
        Reason::NoShape
    );
}

#[test]
fn way_11_an_unfinished_bulk_string_that_swallows_the_next_frame() {
    let swallow = frame(vec![vec![Piece::text("ECHO $200")]]);
    assert_eq!(
        plugin("redis")
            .require_shape(&swallow, &redis_configuration())
            .unwrap_err()
            .reason,
        Reason::NoShape
    );
    let inside = frame(vec![vec![Piece::text("PING\r\n*2\r\n$4\r\nECHO\r\n$200\r\n")]]);
    assert_eq!(
        plugin("redis")
            .require_shape(&inside, &redis_configuration())
            .unwrap_err()
            .reason,
        Reason::NoShape
    );
    let inline = with(
        words(&["AUTH", "app\r\n"]),
        vec![Piece::Secret(own(Role::Subject))],
    );
    assert_eq!(redis_refuses(&inline).reason, Reason::NoShape);
}

#[test]
fn an_answer_that_could_hold_a_secret_is_shown_as_its_status_only() {
    for shape in plugin("redis").shapes() {
        let ShapeBody::Frame(frame) = shape.body() else {
            panic!("redis declares frames only")
        };
        assert!(
            shape.secrets().is_empty() || frame.reply() != Reply::All,
            "{}",
            shape.id()
        );
    }
}

#[test]
fn way_17_more_elements_after_the_secret_or_another_framing() {
    let hash = Piece::Secret(own(Role::Pending).derived("redis.sha256"));
    let elements = |more: &[&str]| {
        let mut elements = words(&["ACL", "SETUSER", "app"]);
        elements.push(vec![Piece::text("#"), hash.clone()]);
        elements.extend(words(more));
        elements
    };
    assert_eq!(
        shape_of("redis", &frame(elements(&[])), &redis_configuration()),
        "add"
    );
    assert_eq!(
        redis_refuses(&frame(elements(&["allcommands"]))).reason,
        Reason::NoShape
    );
    let Call::Frame { tokens, .. } = frame(elements(&[])) else {
        panic!("a frame")
    };
    assert_eq!(
        redis_refuses(&Call::Frame {
            framing: Framing::Ber,
            tokens
        })
        .reason,
        Reason::NoShape
    );
}
