%% What a client may not send on a WebSocket: the tables of RFC 6455 5 and 8.1 row by row, bad frames and UTF-8, and what is too large.
%% Each ends its own connection alone, with its close code and its reason in terminate/3. With compression: ws_deflate_SUITE.
-module(ws_bad_input_SUITE).

-compile([export_all, nowarn_export_all]).

%% OTP's client of TLS reads nothing behind its own close_notify.
all() ->
    same_test:cases(?MODULE) -- same_test:not_over_tls([max_frame_size_by_default]).

%%% Bad frames

-define(BAD_FRAME, [{close, 1002, <<>>}, closed], {error, badframe}).

%% RFC 6455 5.2 to 5.5.
bad_frames(_) ->
    Raw = fun(Bytes) -> [{raw, Bytes}] end,
    Frame = fun(Fin, Rsv, Opcode, Payload) -> Raw(ws_client:frame(Fin, Rsv, Opcode, Payload)) end,
    ws_case:table([
        {unmasked_text, Raw(<<16#81, 5, "Hello">>), ?BAD_FRAME},
        {unmasked_empty_text, Raw(<<16#81, 0>>), ?BAD_FRAME},
        {unmasked_ping, Raw(<<16#89, 0>>), ?BAD_FRAME},
        {unmasked_close, Raw(<<16#88, 0>>), ?BAD_FRAME},
        {rsv1_without_an_extension, Frame(1, 4, 1, <<"a">>), ?BAD_FRAME},
        {rsv2, Frame(1, 2, 1, <<"a">>), ?BAD_FRAME},
        {rsv3, Frame(1, 1, 1, <<"a">>), ?BAD_FRAME},
        {rsv1_on_a_ping, Frame(1, 4, 9, <<>>), ?BAD_FRAME}
    ] ++ [
        {{opcode, Opcode}, Frame(1, 0, Opcode, <<>>), ?BAD_FRAME} || Opcode <- [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]
    ] ++ [
        {fragmented_close, Frame(0, 0, 8, <<>>), ?BAD_FRAME},
        {fragmented_ping, Frame(0, 0, 9, <<>>), ?BAD_FRAME},
        {fragmented_pong, Frame(0, 0, 10, <<>>), ?BAD_FRAME},
        {ping_of_126_bytes, Frame(1, 0, 9, binary:copy(<<"x">>, 126)), ?BAD_FRAME},
        {pong_of_126_bytes, Frame(1, 0, 10, binary:copy(<<"x">>, 126)), ?BAD_FRAME},
        {close_of_126_bytes, Frame(1, 0, 8, <<1000:16, (binary:copy(<<"x">>, 124))/binary>>), ?BAD_FRAME},
        {close_of_1_byte, Frame(1, 0, 8, <<3>>), ?BAD_FRAME},
        {length_16_not_minimal, Raw(<<16#82, 1:1, 126:7, 125:16, 0:32, 0:1000>>), ?BAD_FRAME},
        {length_64_not_minimal, Raw(<<16#82, 1:1, 127:7, 65535:64, 0:32, 0:8>>), ?BAD_FRAME},
        {length_64_with_the_top_bit, Raw(<<16#82, 1:1, 127:7, 1:1, 0:63, 0:32, 0:8>>), ?BAD_FRAME},
        {continuation_of_nothing, Frame(1, 0, 0, <<"a">>), ?BAD_FRAME},
        {unfinished_continuation_of_nothing, Frame(0, 0, 0, <<"a">>), ?BAD_FRAME},
        {text_inside_a_text, Frame(0, 0, 1, <<"a">>) ++ Frame(1, 0, 1, <<"b">>), ?BAD_FRAME},
        {binary_inside_a_text, Frame(0, 0, 1, <<"a">>) ++ Frame(1, 0, 2, <<"b">>), ?BAD_FRAME},
        {text_inside_a_binary, Frame(0, 0, 2, <<"a">>) ++ Frame(0, 0, 1, <<"b">>), ?BAD_FRAME},
        {garbage, Raw(binary:copy(<<255>>, 100)), ?BAD_FRAME},
        {an_http_request, Raw(<<"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n">>), ?BAD_FRAME}
    ], #{}).

messages_before_a_bad_frame_are_handled(_) ->
    #{calls := [websocket_init, {websocket_handle, {text, <<"good">>}} | _]} =
        ws_case:ends([{text, <<"good">>}, {raw, ws_client:frame(1, 0, 3, <<>>)}, {text, <<"late">>}], ?BAD_FRAME).

%% One bad client does not disturb another one of the same listener.
a_bad_frame_concerns_its_own_connection_only(_) ->
    #{wire := {[{close, 1002, <<>>}, closed], {text, <<"still here">>}}} =
        same_test:same(#{handler => {ws_bare_h, #{}}}, fun(Server) ->
            Good = ws_client:open(Server),
            Bad = ws_client:open(Server),
            ws_client:send(Bad, {raw, <<255, 255>>}),
            Seen = ws_client:recv_all(Bad),
            ws_client:send(Good, {text, <<"still here">>}),
            {Seen, ws_client:recv(Good)}
        end).

%%% UTF-8

-define(BAD_UTF8, [{close, 1007, <<>>}, closed], {error, badencoding}).

%% RFC 3629: overlong forms, surrogates, beyond U+10FFFF, stray and missing continuation bytes.
bad_text(_) ->
    ws_case:table([{Text, [{text, Text}], ?BAD_UTF8} || Text <- [
        <<128>>, <<255>>, <<254>>, <<"a", 16#c0, 16#af>>, <<16#e0, 16#80, 16#af>>, <<16#f0, 16#80, 16#80, 16#af>>,
        <<16#ed, 16#a0, 16#80>>, <<16#ed, 16#bf, 16#bf>>, <<16#f4, 16#90, 16#80, 16#80>>, <<16#f8, 16#88, 16#80>>,
        <<16#c3, "a">>, <<16#c3>>, <<16#e2, 16#82>>, <<16#f0, 16#9f, 16#a4>>]], #{}).

bad_text_in_fragments(_) ->
    Frame = fun(Fin, Opcode, Payload) -> {raw, ws_client:frame(Fin, 0, Opcode, Payload)} end,
    ws_case:table([
        {in_the_first, [Frame(0, 1, <<255>>)], ?BAD_UTF8},
        {in_the_last, [Frame(0, 1, <<"a">>), Frame(1, 0, <<255>>)], ?BAD_UTF8},
        {across_two, [Frame(0, 1, <<16#c3>>), Frame(1, 0, <<"a">>)], ?BAD_UTF8},
        {cut_off_at_the_end, [Frame(0, 1, <<"a">>), Frame(1, 0, <<16#c3>>)], ?BAD_UTF8},
        {then_nothing, [Frame(0, 1, <<16#c3>>), Frame(1, 0, <<>>)], ?BAD_UTF8}
    ], #{}).

%% The text is refused as soon as its first bad byte has come: the frame need not be complete.
bad_text_is_refused_before_the_frame_is_complete(_) ->
    <<Part:12/binary, _/binary>> = iolist_to_binary(ws_client:frame(1, 0, 1, <<"abc", 255, "much more to come">>)),
    _ = ws_case:ends([{raw, Part}], ?BAD_UTF8),
    ok.

bad_text_in_a_close_reason(_) ->
    ws_case:table([{Reason, [{close, 1000, Reason}], ?BAD_UTF8} || Reason <- [<<255>>, <<"a", 16#c3>>]], #{}).

binary_is_not_checked(_) ->
    [{binary, <<255>>}] = ws_case:handled([{binary, <<255>>}]).

validate_utf8_false(_) ->
    #{calls := [websocket_init, {websocket_handle, {text, <<255>>}}, {terminate, {remote, 1000, <<254>>}} | _]} =
        ws_case:ends([{text, <<255>>}, {close, 1000, <<254>>}], [{close, 1000, <<>>}, closed], {remote, 1000, <<254>>},
            #{validate_utf8 => false}).

%% Older Cowboys crash here, because the close frame's UTF-8 state is that of the message.
close_inside_a_cut_character(_) ->
    Cut = {raw, ws_client:frame(0, 0, 1, <<16#c3>>)},
    Ends = fun(Frames) -> fun(Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, Frames),
        ws_client:recv_all(Socket)
    end end,
    Setup = #{handler => {ws_script_h, #{}}},
    same_test:differ_before({2, 20}, close_inside_a_cut_character, Setup, Ends([Cut, close]), #{
        cowboy => fun(#{wire := [closed], calls := [websocket_init, {exit, _}]}) -> ok end,
        outrider => fun(#{wire := [close, closed], calls := [_, {terminate, remote}, {exit, normal}], log := []}) ->
            ok
        end
    }),
    same_test:differ_before({2, 20}, close_inside_a_cut_character, Setup, Ends([Cut, {close, 1000, <<>>}]), #{
        cowboy => fun(#{wire := [{close, 1007, <<>>}, closed]}) -> ok end,
        outrider => fun(#{wire := [{close, 1000, <<>>}, closed]}) -> ok end
    }).

%%% Sizes

-define(TOO_BIG, [{close, 1009, <<>>}, closed], {error, badsize}).

max_frame_size_of_a_message(_) ->
    Message = fun(Size) -> [{binary, binary:copy(<<0>>, Size)}, {close, 1000, <<>>}] end,
    Fits = {[{close, 1000, <<>>}, closed], {remote, 1000, <<>>}},
    ws_case:table([{Size, Message(Size), Wire, Reason} || {Size, {Wire, Reason}} <- [
        {99, Fits}, {100, Fits}, {101, {?TOO_BIG}}]], #{max_frame_size => 100}).

max_frame_size_of_the_sum_of_fragments(_) ->
    Fragments = fun(Last) -> [
        {raw, ws_client:frame(0, 0, 2, binary:copy(<<0>>, 60))}, {raw, ws_client:frame(1, 0, 0, binary:copy(<<0>>, Last))},
        {close, 1000, <<>>}] end,
    Fits = {[{close, 1000, <<>>}, closed], {remote, 1000, <<>>}},
    ws_case:table([{60 + Last, Fragments(Last), Wire, Reason} || {Last, {Wire, Reason}} <- [
        {39, Fits}, {40, Fits}, {41, {?TOO_BIG}}]], #{max_frame_size => 100}).

max_frame_size_holds_for_pings_too(_) ->
    _ = ws_case:ends([{ping, binary:copy(<<0>>, 11)}], ?TOO_BIG, #{max_frame_size => 10}),
    ok.

%% The declared length is enough to refuse the frame: nothing of it need have come.
max_frame_size_is_held_against_the_header(_) ->
    _ = ws_case:ends([{raw, ws_client:header(1, 0, 2, 16#7fffffffffffffff)}], ?TOO_BIG, #{max_frame_size => 1000}),
    ok.

max_frame_size_zero_allows_empty_messages(_) ->
    #{calls := [websocket_init, {websocket_handle, {text, <<>>}} | _]} =
        ws_case:ends([{text, <<>>}, {text, <<"a">>}], ?TOO_BIG, #{max_frame_size => 0}).

%% Cowboy knows no limit before 2.17.
max_frame_size_by_default(_) ->
    Scenario = fun(Server) ->
        Socket = ws_client:open(Server),
        _ = ws_client:send(Socket, [{raw, ws_client:header(1, 0, 2, 1000001)}]),
        http_client:half_close(Socket),
        ws_client:recv_all(Socket)
    end,
    same_test:differ_before({2, 17}, max_frame_size_default, #{
        alone_over_http2 => lost_websocket_over_http_2, handler => {ws_script_h, #{}}
    }, Scenario, #{
        cowboy => fun(#{wire := [closed]}) -> ok end,
        outrider => fun(#{wire := [{close, 1009, <<>>}, closed]}) -> ok end
    }).

%% A command of Cowboy 2.13.
max_frame_size_changed_live(_) ->
    same_test:differ_before({2, 13}, max_frame_size_live, #{handler => {ws_script_h, #{
        websocket_handle => fun
            ({text, <<"limit">>}, State) -> {[{set_options, #{max_frame_size => 10}}, {text, <<"set">>}], State};
            (Frame, State) -> {[Frame], State}
        end
    }}}, fun(Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, {text, <<"limit">>}),
        Set = ws_client:recv(Socket),
        ws_client:send(Socket, [{text, <<"0123456789">>}, {text, <<"0123456789a">>}]),
        [Set | ws_client:recv(Socket, 2)]
    end, #{
        cowboy => fun(#{wire := [_, {text, <<"0123456789">>}, {text, <<"0123456789a">>}]}) -> ok end,
        outrider => fun(#{wire := [_, {text, <<"0123456789">>}, {close, 1009, <<>>}]}) -> ok end
    }).
