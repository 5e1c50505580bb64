%% What comes first in a WebSocket: automatic pongs, the frames of the handler and of the client, Erlang messages.
-module(ws_order_SUITE).

-compile([export_all, nowarn_export_all]).

all() ->
    %% There what a client sends at once does not come at once.
    same_test:cases(?MODULE) -- same_test:not_over_tls([
        nor_where_many_clients_send_more_than_one_packet_to_the_vm, frames_of_more_than_a_window_are_not_handled_together
    ]).

%% The answer to a ping precedes what the handler sends for it.
pong_precedes_the_handlers_frames(_) ->
    #{wire := [{pong, <<"p">>}, {text, <<"seen">>}, pong, {text, <<"seen">>}]} =
        same_test:same(#{handler => {ws_script_h, #{
            websocket_handle => fun(_, State) -> {[{text, <<"seen">>}], State} end
        }}}, fun(Server) ->
            Socket = ws_client:open(Server),
            ws_client:send(Socket, {ping, <<"p">>}),
            Two = ws_client:recv(Socket, 2),
            ws_client:send(Socket, ping),
            Two ++ ws_client:recv(Socket, 2)
        end).

%% A ping that comes while the handler is busy is answered at once by Outrider, and by Cowboy when the handler is free.
a_busy_handler_does_not_hold_up_pongs(_) ->
    same_test:differ(pong_while_busy, #{handler => {ws_script_h, #{
        websocket_handle => fun
            ({text, <<"busy">>}, #{probe := Probe} = State) ->
                pinged = probe:await(Probe, pinged),
                {[{text, <<"free">>}], State};
            (_, State) -> {[], State}
        end
    }}}, fun(#{name := Name, probe := Probe} = Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, {text, <<"busy">>}),
        probe:await(Probe, {websocket_handle, {text, <<"busy">>}}),
        ws_client:send(Socket, {ping, <<"p">>}),
        First = case Name of
            outrider -> [ws_client:recv(Socket)];
            cowboy -> []
        end,
        probe:note(Probe, pinged),
        First ++ ws_client:recv(Socket, 2 - length(First))
    end, #{
        cowboy => fun(#{wire := [{text, <<"free">>}, {pong, <<"p">>}]}) -> ok end,
        outrider => fun(#{wire := [{pong, <<"p">>}, {text, <<"free">>}]}) -> ok end
    }).

frames_of_init_precede_all_else(_) ->
    #{wire := [{text, <<"init">>}, {text, <<"early">>}, {close, 1000, <<>>}, closed]} =
        same_test:same(#{handler => {ws_script_h, #{
            websocket_init => fun(State) -> {[{text, <<"init">>}], State} end,
            websocket_handle => fun(Frame, State) -> {[Frame], State} end
        }}}, fun(Server) ->
            Socket = http_client:connect(Server),
            http_client:send(Socket, [ws_client:handshake("/"),
                ws_client:bytes([{text, <<"early">>}, {close, 1000, <<>>}])]),
            #{status := 101} = http_client:response(Socket),
            ws_client:recv_all(Socket)
        end).

%% Cowboy before 2.18 takes early bytes for the next request if there is a line feed among them.
early_frames_may_hold_any_byte(_) ->
    same_test:differ_before({2, 18}, line_feed_in_an_early_frame, #{
        alone_over_http2 => line_feed_in_an_early_frame, handler => {ws_script_h, #{
        websocket_handle => fun(Frame, State) -> {[Frame], State} end
    }}}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, [ws_client:handshake("/"), ws_client:bytes([{binary, <<16#3d>>}])]),
        case http_client:response(Socket) of
            #{status := 101} -> ws_client:recv(Socket);
            #{status := Status} -> Status
        end
    end, #{
        cowboy => fun(#{wire := 400}) -> ok end,
        outrider => fun(#{wire := {binary, <<16#3d>>}}) -> ok end
    }).

answers_keep_the_order_of_the_messages(_) ->
    Messages = [{text, integer_to_binary(N)} || N <- lists:seq(1, 500)],
    #{wire := Messages} = same_test:same(#{handler => {ws_script_h, #{
        websocket_handle => fun(Frame, State) -> {[Frame], State} end
    }}}, fun(Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, Messages),
        ws_client:recv(Socket, 500)
    end).

%% Frames of one segment are handled before a message that the first of them sent to its own process.
a_message_does_not_overtake_frames_that_were_read_with_it(_) ->
    #{calls := [websocket_init, {websocket_handle, {text, <<"1">>}}, {websocket_handle, {text, <<"2">>}},
        {websocket_handle, {text, <<"3">>}}, {websocket_info, sent_at_1} | _]} =
        same_test:same(#{handler => {ws_script_h, #{
            websocket_handle => fun
                ({text, <<"1">>}, State) -> self() ! sent_at_1, {[], State};
                (_, State) -> {[], State}
            end,
            websocket_info => fun(_, State) -> {[close], State} end
        }}}, fun(Server) ->
            Socket = ws_client:open(Server),
            ws_client:send(Socket, [{text, <<"1">>}, {text, <<"2">>}, {text, <<"3">>}]),
            ws_client:recv_all(Socket)
        end).

%% Outrider reads all of these clients in one turn, and what they have sent does not fit into one packet to the VM: it ends
%% somewhere among the frames of the fifth.
nor_where_many_clients_send_more_than_one_packet_to_the_vm(_) ->
    Large = lists:duplicate(4, [{binary, <<0:480000>>}]),
    Small = lists:duplicate(8, lists:duplicate(1000, {text, <<0:240>>})),
    Handled = lists:duplicate(8, {text, <<"1000">>}),
    #{wire := Handled} = same_test:same(counting(), fun(Server) ->
        Clients = [{ws_client:open(Server), ws_client:bytes(Frames)} || Frames <- Large ++ Small],
        Send = fun() -> [ok = http_client:send(Socket, Bytes) || {Socket, Bytes} <- Clients] end,
        _ =
            case Server of
                #{name := outrider, ref := Ref} -> os_process:while_stopped(os_process:sidecar(Ref), Send);
                #{name := cowboy} -> Send()
            end,
        [ws_client:recv(Socket) || {Socket, _} <- lists:nthtail(length(Large), Clients)]
    end).

%% Empty frames, each of which costs 64 of the 262,144 bytes of its client's window.
frames_of_more_than_a_window_are_not_handled_together(_) ->
    same_test:differ(frames_read_together, counting(), fun(Server) ->
        [
            begin
                Socket = ws_client:open(Server),
                ok = ws_client:send(Socket, lists:duplicate(Frames, {text, <<>>})),
                ws_client:recv(Socket)
            end
         || Frames <- [4096, 4097]
        ]
    end, #{
        cowboy => fun(#{wire := [{text, <<"4096">>}, {text, <<"4097">>}]}) -> ok end,
        outrider => fun(#{wire := [{text, <<"4096">>}, {text, <<"4096">>}]}) -> ok end
    }).

%% A handler that sends a message to itself at its first frame, and to the client how many frames it has had when that comes. Cowboy
%% reads what comes together in one go.
counting() ->
    #{order => any, transport => [{port, 0}, {buffer, 65536}], handler => {ws_script_h, #{
        silent => true,
        count => 0,
        websocket_handle => fun(_, #{count := Count} = State) ->
            _ = Count =:= 0 andalso (self() ! sent_at_the_first),
            {[], State#{count := Count + 1}}
        end,
        websocket_info => fun(_, #{count := Count} = State) -> {[{text, integer_to_binary(Count)}], State} end
    }}}.

%% Nor does it overtake a close frame, or a frame that is none, behind them.
a_message_does_not_overtake_the_end_that_was_read_with_its_frame(_) ->
    Ends = [{{close, 1000, <<>>}, {remote, 1000, <<>>}}, {{raw, <<16#8f, 16#80, 0:32>>}, {error, badframe}}],
    [
        #{calls := [websocket_init, {websocket_handle, {text, <<"1">>}}, {terminate, Reason} | _]} =
            same_test:same(#{handler => {ws_script_h, #{
                websocket_handle => fun(_, State) -> self() ! sent_at_1, {[], State} end
            }}}, fun(Server) ->
                Socket = ws_client:open(Server),
                ws_client:send(Socket, [{text, <<"1">>}, End]),
                ws_client:recv_all(Socket)
            end)
     || {End, Reason} <- Ends
    ].

hibernation_keeps_what_was_read(_) ->
    #{wire := [{text, <<"1">>}, {text, <<"2">>}, {text, <<"info">>}]} = same_test:same(#{handler => {ws_script_h, #{
        websocket_handle => fun
            ({text, <<"2">>} = Frame, State) -> self() ! info, {[Frame], State, hibernate};
            (Frame, State) -> {[Frame], State, hibernate}
        end,
        websocket_info => fun(info, State) -> {[{text, <<"info">>}], State, hibernate} end
    }}}, fun(Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, [{text, <<"1">>}, {text, <<"2">>}]),
        ws_client:recv(Socket, 3)
    end).
