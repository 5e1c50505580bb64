%% How a WebSocket ends: who, when, with which close code on the wire (RFC 6455 7.4) and which reason in terminate/3. Lost clients, idle
%% timeout. What a client may not send is in ws_bad_input_SUITE.
-module(ws_close_SUITE).

-compile([export_all, nowarn_export_all]).

%% The tunnel of TLS takes much, now and then.
all() ->
    same_test:cases(?MODULE) -- same_test:not_over_tls([a_client_that_takes_little_all_the_time]).

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
