%% How a WebSocket ends: who, when, with which close code on the wire and which reason in terminate/3.
%% The tables of RFC 6455 5 and 7.4 row by row: bad frames, sizes, UTF-8, close codes; idle timeout; lost clients.
-module(ws_close_SUITE).

-compile([export_all, nowarn_export_all]).

%% The tunnel of TLS takes much, now and then; and OTP's client reads nothing behind its own close_notify.
all() ->
    same_test:cases(?MODULE) --
        same_test:not_over_tls([a_client_that_takes_little_all_the_time, max_frame_size_by_default]).

%%% Closed by the client

%% The server echoes the code without the reason; terminate/3 gets both.
close_without_a_code(_) ->
    ws_case:ends([close], [close, closed], remote).

close_with_a_code(_) ->
    ws_case:ends([{close, 1000, <<>>}], [{close, 1000, <<>>}, closed], {remote, 1000, <<>>}).

close_with_a_code_and_a_reason(_) ->
    ws_case:ends([{close, 1001, <<"leaving">>}], [{close, 1001, <<>>}, closed], {remote, 1001, <<"leaving">>}).

close_with_a_reason_beyond_ascii(_) ->
    ws_case:ends([{close, 1000, <<"à bientôt"/utf8>>}], [{close, 1000, <<>>}, closed],
        {remote, 1000, <<"à bientôt"/utf8>>}).

close_with_the_longest_reason(_) ->
    Reason = binary:copy(<<"x">>, 123),
    ws_case:ends([{close, 1000, Reason}], [{close, 1000, <<>>}, closed], {remote, 1000, Reason}).

close_codes_that_are_accepted(_) ->
    _ = [ws_case:ends([{close, Code, <<>>}], [{close, Code, <<>>}, closed], {remote, Code, <<>>})
        || Code <- [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]],
    ok.

close_codes_that_are_refused(_) ->
    _ = [ws_case:ends([{close, Code, <<>>}], [{close, 1002, <<>>}, closed], {error, badframe})
        || Code <- [0, 1, 999, 1004, 1005, 1006, 1012, 1013, 1014, 1015, 1016, 2000, 2999, 5000, 65535]],
    ok.

frames_after_a_close_are_ignored(_) ->
    #{calls := [websocket_init, {terminate, remote}, {exit, normal}]} =
        ws_case:ends([close, {text, <<"late">>}, {ping, <<"late">>}], [close, closed], remote).

messages_before_a_close_are_answered_before_it(_) ->
    #{wire := [{text, <<"a">>}, {text, <<"b">>}, {close, 1000, <<>>}, closed]} =
        same_test:same(#{handler => {ws_script_h, #{
            websocket_handle => fun(Frame, State) -> {[Frame], State} end
        }}}, fun(Server) ->
            Socket = ws_client:open(Server),
            ws_client:send(Socket, [{text, <<"a">>}, {text, <<"b">>}, {close, 1000, <<>>}]),
            ws_client:recv_all(Socket)
        end).

%%% Closed by the handler

%% Cowboy closes without waiting for the client's close frame; so the client's answer finds nobody, on both servers.
the_clients_answer_to_a_close_reaches_no_callback(_) ->
    #{calls := [websocket_init, {websocket_handle, {text, <<"go">>}}, {terminate, stop}, {exit, normal}], log := []} =
        same_test:same(#{handler => {ws_script_h, #{
            websocket_handle => fun(_, State) -> {[{close, 4001, <<"bye">>}], State} end
        }}}, fun(Server) ->
            Socket = ws_client:open(Server),
            ws_client:send(Socket, {text, <<"go">>}),
            Frame = ws_client:recv(Socket),
            _ = ws_client:send(Socket, {close, 4001, <<"bye">>}),
            {Frame, ws_client:recv(Socket)}
        end).

%% The process is gone as soon as terminate/3 has returned, also while the client's side is still open.
the_process_ends_before_the_client_has_answered(_) ->
    #{wire := {{close, 1000, <<>>}, {exit, normal}}} =
        same_test:same(#{handler => {ws_script_h, #{
            websocket_handle => fun(_, State) -> {[{close, <<>>}], State} end
        }}}, fun(#{probe := Probe} = Server) ->
            Socket = ws_client:open(Server),
            ws_client:send(Socket, {text, <<"go">>}),
            {ws_client:recv(Socket), probe:await_exit(Probe)}
        end).

%% The client is still sending when the server closes. Cowboy closes the socket at once, and the reset that answers the
%% client's bytes may overtake the close frame. Outrider closes its own side only and reads on.
a_close_survives_what_the_client_still_sends(_) ->
    Flood = ws_client:bytes({binary, binary:copy(<<0>>, 4000000)}),
    same_test:improves(linger_after_close, #{handler => {ws_script_h, #{
        websocket_handle => fun(_, State) -> {[{close, 4000, <<"enough">>}], State} end
    }}}, fun(#{probe := Probe} = Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, {text, <<"go">>}),
        probe:await_exit(Probe),
        ok = http_client:send(Socket, Flood),
        ws_client:recv_all(Socket)
    end, fun(#{wire := [{close, 4000, <<"enough">>}, closed]}) -> ok end).

%%% Lost clients

client_gone(_) ->
    ws_case:lost(fun http_client:close/1).

%% The client has closed its side only; Cowboy takes that for the end.
client_half_closed(_) ->
    #{wire := [closed]} = ws_case:lost(#{alone_over_http2 => lost_websocket_over_http_2}, fun(Socket) ->
        ok = http_client:half_close(Socket),
        ws_client:recv_all(Socket)
    end).

client_resets_the_connection(_) ->
    ws_case:lost(fun(Socket) ->
        ok = inet:setopts(Socket, [{linger, {true, 0}}]),
        http_client:close(Socket)
    end).

client_gone_in_the_middle_of_a_frame(_) ->
    ws_case:lost(fun(Socket) ->
        http_client:send(Socket, <<(ws_client:header(1, 0, 2, 100))/binary, "half">>),
        http_client:close(Socket)
    end).

client_gone_in_the_middle_of_a_message(_) ->
    ws_case:lost(fun(Socket) ->
        http_client:send(Socket, ws_client:frame(0, 0, 1, <<"half">>)),
        http_client:close(Socket)
    end).

messages_before_the_end_of_the_connection_are_delivered(_) ->
    #{calls := [websocket_init, {websocket_handle, {text, <<"a">>}}, {websocket_handle, {text, <<"b">>}},
        {terminate, {error, closed}}, {exit, normal}]} =
        same_test:same(#{handler => {ws_script_h, #{}}}, fun(Server) ->
            Socket = ws_client:open(Server),
            ws_client:send(Socket, [{text, <<"a">>}, {text, <<"b">>}]),
            http_client:close(Socket)
        end).

%% Far more than the client, the kernel and the window take. The first callback can still send: Cowboy's second one cannot,
%% and Outrider does not call a second one.
a_client_that_takes_nothing(_) ->
    Frames = lists:duplicate(30, {binary, binary:copy(<<0>>, 1000000)}),
    #{calls := [websocket_init, {terminate, {error, timeout}}, {exit, normal}]} =
        same_test:same(#{
            alone_over_http2 => client_that_opens_no_window,
            transport => [{port, 0}, {send_timeout, 300}], handler => {ws_script_h, #{
            silent => true,
            websocket_handle => fun(_, State) -> self() ! again, {Frames, State} end,
            websocket_info => fun(again, State) -> {Frames, State} end
        }}}, fun(#{probe := Probe} = Server) ->
            Socket = ws_client:open(Server),
            ws_client:send(Socket, {text, <<"go">>}),
            probe:await_exit(Probe)
        end).

%% Far less than what makes its socket writable again, for three times send_timeout; then all that is left.
a_client_that_takes_little_all_the_time(_) ->
    Large = 8000000,
    Whole = Large + 10,
    #{wire := Whole} = same_test:same(#{transport => [{port, 0}, {send_timeout, 1500}], handler => {ws_script_h, #{
        silent => true,
        websocket_handle => fun(_, State) -> {[{binary, <<0:(8 * Large)>>}], State} end
    }}}, fun(Server) ->
        Socket = http_client:connect(Server, [{recbuf, 4096}]),
        #{status := 101} = ws_client:upgrade(Socket, []),
        ws_client:send(Socket, {text, <<"go">>}),
        Taken = dawdle(Socket, erlang:monotonic_time(millisecond) + 3 * 1500),
        case http_client:bytes(Socket, Whole - Taken) of
            Rest when is_binary(Rest) -> Whole;
            Ended -> Ended
        end
    end).

dawdle(Socket, Deadline) ->
    case erlang:monotonic_time(millisecond) < Deadline of
        true ->
            case http_client:bytes(Socket, 4096) of
                closed -> 0;
                _ -> receive after 50 -> 4096 + dawdle(Socket, Deadline) end
            end;
        false ->
            0
    end.

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

%%% Idle timeout

-define(IDLE, [{close, 1000, <<>>}, closed], timeout).

idle_timeout(_) ->
    _ = ws_case:ends([], ?IDLE, #{idle_timeout => 200}),
    ok.

idle_timeout_after_a_message(_) ->
    _ = ws_case:ends([{text, <<"a">>}], ?IDLE, #{idle_timeout => 200}),
    ok.

idle_timeout_in_the_middle_of_a_frame(_) ->
    _ = ws_case:ends([{raw, ws_client:header(1, 0, 1, 10)}], ?IDLE, #{idle_timeout => 200}),
    ok.

%% Here 20 frames follow each other at half the timeout: if one of them started it anew, they would not stop.
idle_timeout_is_not_reset_by_what_the_server_sends(_) ->
    Tick = fun(State) -> erlang:send_after(100, self(), tick), {[{text, <<"tick">>}], State} end,
    #{wire := closed_while_sending} = same_test:same(#{handler => {ws_script_h, #{
        opts => #{idle_timeout => 200},
        silent => true,
        websocket_init => Tick,
        websocket_info => fun(tick, State) -> Tick(State) end
    }}}, fun(Server) ->
        Socket = ws_client:open(Server),
        case [Frame || Frame <- ws_client:recv(Socket, 20), Frame =/= {text, <<"tick">>}] of
            [{close, 1000, <<>>} | _] -> closed_while_sending;
            Other -> Other
        end
    end).

%% Bytes of one frame, each before the timeout is over, together far beyond it.
idle_timeout_is_reset_by_every_byte_received(_) ->
    Bytes = iolist_to_binary(ws_client:bytes({text, <<"slow">>})),
    #{calls := [websocket_init, {websocket_handle, {text, <<"slow">>}}, {terminate, timeout}, {exit, normal}]} =
        same_test:same(#{handler => {ws_script_h, #{opts => #{idle_timeout => 600}}}}, fun(Server) ->
            Socket = ws_client:open(Server),
            _ = [begin http_client:send(Socket, <<Byte>>), timer:sleep(100) end || <<Byte>> <= Bytes],
            ws_client:recv_all(Socket)
        end).

idle_timeout_runs_while_the_handler_is_not_active(_) ->
    #{wire := [{close, 1000, <<>>}, closed], calls := [websocket_init, {terminate, timeout}, {exit, normal}]} =
        same_test:same(#{handler => {ws_script_h, #{
            opts => #{idle_timeout => 300}, websocket_init => fun(State) -> {[{active, false}], State} end
        }}}, fun(Server) -> ws_client:recv_all(ws_client:open(Server)) end).

idle_timeout_changed_live(_) ->
    #{wire := [{text, <<"set">>}, {close, 1000, <<>>}, closed], calls := [_, _, {terminate, timeout}, _]} =
        same_test:same(#{handler => {ws_script_h, #{
            opts => #{idle_timeout => infinity},
            websocket_handle => fun(_, State) ->
                {[{set_options, #{idle_timeout => 200}}, {text, <<"set">>}], State}
            end
        }}}, fun(Server) ->
            Socket = ws_client:open(Server),
            ws_client:send(Socket, {text, <<"go">>}),
            ws_client:recv_all(Socket)
        end).

%% Nothing may happen for thrice the old timeout.
idle_timeout_switched_off_live(_) ->
    #{wire := [{text, <<"set">>}, {text, <<"after">>}]} = same_test:same(#{handler => {ws_script_h, #{
        opts => #{idle_timeout => 300},
        websocket_init => fun(State) ->
            {[{set_options, #{idle_timeout => infinity}}, {text, <<"set">>}], State}
        end,
        websocket_info => fun(later, State) -> {[{text, <<"after">>}], State} end
    }}}, fun(#{probe := Probe} = Server) ->
        Socket = ws_client:open(Server),
        erlang:send_after(900, probe:process(Probe), later),
        ws_client:recv(Socket, 2)
    end).
