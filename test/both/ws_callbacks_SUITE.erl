%% What the callbacks of a WebSocket handler get and what each of their returns does: every callback × every return,
%% every command alone and with others, and the order of automatic pongs, the handler's frames and Erlang messages.
-module(ws_callbacks_SUITE).

-compile([export_all, nowarn_export_all]).

all() ->
    %% There what a client sends at once does not come at once.
    same_test:cases(?MODULE) -- same_test:not_over_tls([
        nor_where_many_clients_send_more_than_one_packet_to_the_vm, frames_of_more_than_a_window_are_not_handled_together
    ]).

%%% Every callback × every return

-define(CLOSED_BY_CLIENT, [{terminate, {remote, 1000, <<"bye">>}}, {exit, normal}]).
-define(STOPPED, [{terminate, stop}, {exit, normal}]).

no_commands(_) ->
    {[{close, 1000, <<>>}, closed], ?CLOSED_BY_CLIENT} = ws_case:each_callback(fun(State) -> {[], State} end).

no_commands_and_hibernate(_) ->
    {[{close, 1000, <<>>}, closed], ?CLOSED_BY_CLIENT} = ws_case:each_callback(fun(State) -> {[], State, hibernate} end).

one_frame(_) ->
    {[{text, <<"a">>}, {close, 1000, <<>>}, closed], ?CLOSED_BY_CLIENT} =
        ws_case:each_callback(fun(State) -> {[{text, <<"a">>}], State} end).

one_frame_and_hibernate(_) ->
    {[{binary, <<"a">>}, {close, 1000, <<>>}, closed], ?CLOSED_BY_CLIENT} =
        ws_case:each_callback(fun(State) -> {[{binary, <<"a">>}], State, hibernate} end).

several_frames(_) ->
    {[{text, <<"a">>}, ping, {binary, <<"b">>}, {pong, <<"c">>}, {close, 1000, <<>>}, closed], ?CLOSED_BY_CLIENT} =
        ws_case:each_callback(fun(State) -> {[{text, <<"a">>}, ping, {binary, <<"b">>}, {pong, <<"c">>}], State} end).

close_command(_) ->
    {[close, closed], ?STOPPED} = ws_case:each_callback(fun(State) -> {[close], State} end).

close_command_with_reason(_) ->
    {[{close, 1000, <<"done">>}, closed], ?STOPPED} = ws_case:each_callback(fun(State) -> {[{close, <<"done">>}], State} end).

close_command_with_code(_) ->
    {[{close, 4000, <<"done">>}, closed], ?STOPPED} =
        ws_case:each_callback(fun(State) -> {[{close, 4000, <<"done">>}], State} end).

close_command_and_hibernate(_) ->
    {[{close, 1001, <<>>}, closed], ?STOPPED} =
        ws_case:each_callback(fun(State) -> {[{close, 1001, <<>>}], State, hibernate} end).

frames_before_a_close_are_sent_and_those_after_it_dropped(_) ->
    {[{text, <<"a">>}, {close, 1000, <<"b">>}, closed], ?STOPPED} =
        ws_case:each_callback(fun(State) -> {[{text, <<"a">>}, {close, <<"b">>}, {text, <<"c">>}], State} end).

old_ok(_) ->
    {[{close, 1000, <<>>}, closed], ?CLOSED_BY_CLIENT} = ws_case:each_callback(fun(State) -> {ok, State} end).

old_ok_and_hibernate(_) ->
    {[{close, 1000, <<>>}, closed], ?CLOSED_BY_CLIENT} = ws_case:each_callback(fun(State) -> {ok, State, hibernate} end).

old_reply(_) ->
    {[{text, <<"a">>}, {close, 1000, <<>>}, closed], ?CLOSED_BY_CLIENT} =
        ws_case:each_callback(fun(State) -> {reply, {text, <<"a">>}, State} end).

old_reply_and_hibernate(_) ->
    {[{text, <<"a">>}, {close, 1000, <<>>}, closed], ?CLOSED_BY_CLIENT} =
        ws_case:each_callback(fun(State) -> {reply, {text, <<"a">>}, State, hibernate} end).

old_reply_with_several_frames(_) ->
    {[{text, <<"a">>}, {binary, <<"b">>}, {close, 1000, <<>>}, closed], ?CLOSED_BY_CLIENT} =
        ws_case:each_callback(fun(State) -> {reply, [{text, <<"a">>}, {binary, <<"b">>}], State} end).

old_reply_with_no_frames(_) ->
    {[{close, 1000, <<>>}, closed], ?CLOSED_BY_CLIENT} = ws_case:each_callback(fun(State) -> {reply, [], State} end).

old_reply_with_a_close(_) ->
    {[{text, <<"a">>}, close, closed], ?STOPPED} =
        ws_case:each_callback(fun(State) -> {reply, [{text, <<"a">>}, close, {text, <<"b">>}], State} end).

old_reply_with_one_close_frame(_) ->
    {[{close, 1001, <<"x">>}, closed], ?STOPPED} =
        ws_case:each_callback(fun(State) -> {reply, {close, 1001, <<"x">>}, State, hibernate} end).

old_stop(_) ->
    {[{close, 1000, <<>>}, closed], ?STOPPED} = ws_case:each_callback(fun(State) -> {stop, State} end).

%% A handler need not have websocket_init/1.
no_websocket_init(_) ->
    #{wire := {text, <<"hi">>}} = same_test:same(#{handler => {ws_bare_h, #{}}}, fun(Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, {text, <<"hi">>}),
        ws_client:recv(Socket)
    end).

%% ... nor terminate/3.
no_terminate(_) ->
    #{wire := [{close, 1000, <<>>}, closed], log := []} = same_test:same(#{handler => {ws_bare_h, #{}}}, fun(Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, {close, 1000, <<>>}),
        ws_client:recv_all(Socket)
    end).

%%% The handler's state

the_state_goes_from_callback_to_callback(_) ->
    Next = fun(#{count := Count} = State) -> {[{text, integer_to_binary(Count)}], State#{count := Count + 1}} end,
    #{wire := [{text, <<"0">>}, {text, <<"1">>}, {text, <<"2">>}, {close, 1000, <<>>}, closed]} =
        same_test:same(#{handler => {ws_script_h, #{
            count => 0,
            websocket_init => fun(State) -> self() ! next, Next(State) end,
            websocket_info => fun(next, State) -> Next(State) end,
            websocket_handle => fun(_, State) -> Next(State) end
        }}}, fun(Server) ->
            Socket = ws_client:open(Server),
            Two = ws_client:recv(Socket, 2),
            ws_client:send(Socket, [{text, <<"next">>}, {close, 1000, <<>>}]),
            Two ++ ws_client:recv_all(Socket)
        end).

the_state_of_init_is_the_first(_) ->
    #{wire := {text, <<"from init">>}} = same_test:same(#{handler => {ws_script_h, #{
        init => fun(Req, State) -> {cowboy_websocket, Req, State#{word => <<"from init">>}} end,
        websocket_init => fun(#{word := Word} = State) -> {[{text, Word}], State} end
    }}}, fun(Server) -> ws_client:recv(ws_client:open(Server)) end).

terminate_gets_the_last_state(_) ->
    #{calls := Calls} = same_test:same(#{handler => {ws_script_h, #{
        websocket_handle => fun(_, State) -> {[{close, <<>>}], State#{last => true}} end,
        terminate => fun(_, _, #{probe := Probe, last := Last}) -> probe:note(Probe, {last, Last}) end
    }}}, fun(Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, {text, <<>>}),
        ws_client:recv_all(Socket)
    end),
    [websocket_init, {websocket_handle, {text, <<>>}}, {terminate, stop}, {last, true}, {exit, normal}] = Calls.

%%% Frames from the client

text_and_binary(_) ->
    [{text, <<"a">>}, {binary, <<0, 255>>}, {text, <<>>}, {binary, <<>>}] =
        ws_case:handled([{text, <<"a">>}, {binary, <<0, 255>>}, {text, <<>>}, {binary, <<>>}]).

text_beyond_ascii(_) ->
    Text = <<"grüße, κόσμε, 世界, 🤠"/utf8>>,
    [{text, Text}] = ws_case:handled([{text, Text}]).

each_length_form(_) ->
    Sizes = [0, 1, 125, 126, 127, 65535, 65536],
    Sizes = [byte_size(Payload) || {binary, Payload} <- ws_case:handled([{binary, binary:copy(<<7>>, Size)} || Size <- Sizes])].

%% Larger than a piece of the port protocol, and than its window.
a_message_of_nearly_a_million_bytes(_) ->
    Message = binary:copy(<<"0123456789abcdef">>, 62500),
    [{binary, Message}] = ws_case:handled([{binary, Message}]).

%% Larger than every window on the way, in both directions.
a_message_of_many_pieces(_) ->
    Message = {binary, binary:copy(<<"0123456789abcdef">>, 300000)},
    #{wire := Message} = same_test:same(#{handler => {ws_script_h, #{
        silent => true,
        opts => #{max_frame_size => infinity},
        websocket_handle => fun(Frame, State) -> {[Frame], State} end
    }}}, fun(Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, Message),
        ws_client:recv(Socket)
    end).

%% Characters of three bytes, so that every cut at a power of two is inside one.
a_long_text_of_long_characters(_) ->
    Text = binary:copy(<<"世"/utf8>>, 100000),
    [{text, Text}] = ws_case:handled([{text, Text}]).

empty_pings_and_pongs_are_atoms(_) ->
    [ping, {ping, <<"a">>}, pong, {pong, <<"b">>}] = ws_case:handled([ping, {ping, <<"a">>}, pong, {pong, <<"b">>}]).

fragments_arrive_as_one_message(_) ->
    [{text, <<"abc">>}, {binary, <<1, 2>>}] = ws_case:handled([
        {raw, [ws_client:frame(0, 0, 1, <<"a">>), ws_client:frame(0, 0, 0, <<"b">>), ws_client:frame(1, 0, 0, <<"c">>)]},
        {raw, [ws_client:frame(0, 0, 2, <<1>>), ws_client:frame(1, 0, 0, <<2>>)]}]).

empty_fragments(_) ->
    [{text, <<>>}, {text, <<"a">>}] = ws_case:handled([
        {raw, [ws_client:frame(0, 0, 1, <<>>), ws_client:frame(0, 0, 0, <<>>), ws_client:frame(1, 0, 0, <<>>)]},
        {raw, [ws_client:frame(0, 0, 1, <<>>), ws_client:frame(0, 0, 0, <<"a">>), ws_client:frame(1, 0, 0, <<>>)]}]).

control_frames_between_fragments_come_first(_) ->
    [{ping, <<"p">>}, pong, {text, <<"ab">>}] = ws_case:handled([
        {raw, ws_client:frame(0, 0, 1, <<"a">>)}, {ping, <<"p">>}, pong, {raw, ws_client:frame(1, 0, 0, <<"b">>)}]).

a_character_cut_by_a_fragment(_) ->
    <<First:1/binary, Second/binary>> = Character = <<"ß"/utf8>>,
    [{text, Character}] = ws_case:handled([{raw, [ws_client:frame(0, 0, 1, First), ws_client:frame(1, 0, 0, Second)]}]).

%% Each byte a write of its own: the handler sees whole messages only.
frames_cut_at_every_byte(_) ->
    Bytes = iolist_to_binary(ws_client:bytes([{text, <<"hello">>}, {ping, <<"p">>}, {close, 1000, <<"end">>}])),
    #{calls := [websocket_init, {websocket_handle, {text, <<"hello">>}}, {websocket_handle, {ping, <<"p">>}},
        {terminate, {remote, 1000, <<"end">>}}, {exit, normal}]} =
        same_test:same(#{handler => {ws_script_h, #{}}}, fun(Server) ->
            Socket = ws_client:open(Server),
            _ = [ok = http_client:send(Socket, <<Byte>>) || <<Byte>> <= Bytes],
            ws_client:recv_all(Socket)
        end).

%%% Commands

payloads_are_iodata(_) ->
    [{text, <<"Hello">>}, {binary, <<"abc">>}, {ping, <<"xy">>}, {pong, <<"z">>}] =
        ws_case:sent([{text, "Hello"}, {binary, [<<"a">>, ["b" | <<"c">>]]}, {ping, [$x, "y"]}, {pong, "z"}]).

close_reasons_are_iodata(_) ->
    [{close, 3000, <<"enough">>}, closed] = ws_case:wire([{close, 3000, ["eno", <<"ugh">>]}]).

empty_messages(_) ->
    [{text, <<>>}, {binary, <<>>}, ping, pong] = ws_case:sent([{text, <<>>}, {binary, []}, {ping, <<>>}, {pong, ""}]).

%% RFC 6455 allows 125 bytes; the one more is in ws_process_SUITE.
control_frames_of_the_largest_size(_) ->
    Largest = binary:copy(<<"x">>, 125),
    [{ping, Largest}, {pong, Largest}] = ws_case:sent([{ping, Largest}, {pong, Largest}]).

close_reason_of_the_largest_size(_) ->
    Largest = binary:copy(<<"x">>, 123),
    [{close, 1000, Largest}, closed] = ws_case:wire([{close, Largest}]).

each_length_form_is_sent_in_its_shortest(_) ->
    Sizes = [0, 1, 125, 126, 65535, 65536, 200000],
    Sizes = [byte_size(Payload) || {binary, Payload} <- ws_case:sent([{binary, binary:copy(<<7>>, Size)} || Size <- Sizes])].

outgoing_text_is_not_checked(_) ->
    [{text, <<255>>}] = ws_case:sent([{text, <<255>>}]).

any_close_code_is_sent(_) ->
    _ = [[{close, Code, <<>>}, closed] = ws_case:wire([{close, Code, <<>>}]) || Code <- [0, 999, 1005, 1015, 2999, 65535]],
    ok.

options_between_frames(_) ->
    [{text, <<"a">>}, {text, <<"b">>}] = ws_case:sent([
        {text, <<"a">>}, {set_options, #{idle_timeout => infinity}}, {active, true}, {deflate, false},
        {shutdown_reason, normal}, {text, <<"b">>}]).

set_options_ignores_unknown_keys(_) ->
    [{text, <<"a">>}] = ws_case:sent([{set_options, #{something => different}}, {text, <<"a">>}]).

commands_after_a_close_are_not_executed(_) ->
    #{calls := [_, _, {terminate, stop}, {exit, normal}]} = same_test:same(#{handler => {ws_script_h, #{
        websocket_handle => fun(_, State) -> {[close, {shutdown_reason, never}, {text, 1}], State} end
    }}}, fun(Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, {text, <<>>}),
        ws_client:recv_all(Socket)
    end).

shutdown_reason_of_a_close(_) ->
    ws_case:exits_with({shutdown, enough}, [{shutdown_reason, enough}, close]).

shutdown_reason_normal_restores(_) ->
    ws_case:exits_with(normal, [{shutdown_reason, enough}, {shutdown_reason, normal}, close]).

shutdown_reason_of_an_earlier_callback_when_the_client_closes(_) ->
    #{calls := [websocket_init, {terminate, {remote, 1000, <<>>}}, {exit, {shutdown, {by, init}}}]} =
        same_test:same(#{handler => {ws_script_h, #{
            websocket_init => fun(State) -> {[{shutdown_reason, {by, init}}], State} end
        }}}, fun(Server) ->
            Socket = ws_client:open(Server),
            ws_client:send(Socket, {close, 1000, <<>>}),
            ws_client:recv_all(Socket)
        end).

%% Nothing that the client sends after websocket_init returned `{active, false}' is read until `{active, true}'.
active_false_of_init_holds_the_client_back(_) ->
    #{wire := {text, <<"first">>}, calls := [websocket_init, {websocket_info, resume},
        {websocket_handle, {text, <<"late">>}} | _]} = same_test:same(#{
            alone_over_http2 => active_over_http_2, handler => {ws_script_h, #{
            websocket_init => fun(State) -> {[{active, false}], State} end,
            websocket_info => fun(resume, State) -> {[{text, <<"first">>}, {active, true}], State} end
        }}}, fun(#{probe := Probe} = Server) ->
            Socket = ws_client:open(Server),
            ws_client:send(Socket, {text, <<"late">>}),
            probe:process(Probe) ! resume,
            Frame = ws_client:recv(Socket),
            probe:await(Probe, {websocket_handle, {text, <<"late">>}}),
            Frame
        end).

%% Cowboy still delivers what it has read together with the frame that stopped it.
active_false_is_strict(_) ->
    same_test:differ(strict_active, #{handler => {ws_script_h, #{
        websocket_handle => fun(_, State) -> {[{active, false}], State} end,
        websocket_info => fun(resume, State) -> {[{active, true}], State} end
    }}}, fun(#{probe := Probe} = Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, [{text, <<"1">>}, {text, <<"2">>}]),
        probe:await(Probe, {websocket_handle, {text, <<"1">>}}),
        probe:process(Probe) ! resume,
        probe:await(Probe, {websocket_handle, {text, <<"2">>}}),
        ok
    end, #{
        cowboy => fun(#{calls := [_, {websocket_handle, _}, {websocket_handle, _}, {websocket_info, resume} | _]}) ->
            ok
        end,
        outrider => fun(#{calls := [_, {websocket_handle, _}, {websocket_info, resume}, {websocket_handle, _} | _]}) ->
            ok
        end
    }).

active_twice_the_same_is_nothing(_) ->
    [{text, <<"a">>}] = ws_case:sent([{active, true}, {active, true}, {text, <<"a">>}]).

active_false_and_true_in_one_list(_) ->
    #{wire := [{text, <<"1">>}, {text, <<"2">>}]} = same_test:same(#{handler => {ws_script_h, #{
        websocket_handle => fun(Frame, State) -> {[{active, false}, {active, true}, Frame], State} end
    }}}, fun(Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, {text, <<"1">>}),
        One = ws_client:recv(Socket),
        ws_client:send(Socket, {text, <<"2">>}),
        [One, ws_client:recv(Socket)]
    end).

%%% Order

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
