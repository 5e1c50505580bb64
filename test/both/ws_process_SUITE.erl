%% The process of a WebSocket: which process it is, its surroundings and its mailbox, Req in terminate/3, and its end with the listener.
%% How it crashes, and what links and exit signals do to it, is in ws_crashes_SUITE.
-module(ws_process_SUITE).

-compile([export_all, nowarn_export_all]).

all() ->
    same_test:cases(?MODULE) -- [cowboys].

%%% Who it is

%% Req's pid is the process of the callbacks already in init/2, which runs in another one.
pid_of_req_runs_the_callbacks(_) ->
    #{calls := [{in_init, false}, websocket_init, {in_websocket_init, true}, {in_handle, true} | _]} =
        same_test:same(#{alone_over_http2 => websocket_process_over_http_2, handler => {ws_script_h, #{
            init => fun(#{pid := Pid} = Req, #{probe := Probe} = State) ->
                probe:note(Probe, {in_init, Pid =:= self()}),
                {cowboy_websocket, Req, State#{pid => Pid}}
            end,
            websocket_init => fun(#{pid := Pid, probe := Probe} = State) ->
                probe:note(Probe, {in_websocket_init, Pid =:= self()}),
                {[], State#{silent => true}}
            end,
            websocket_handle => fun(_, #{pid := Pid, probe := Probe} = State) ->
                probe:note(Probe, {in_handle, Pid =:= self()}),
                {[close], State}
            end
        }}}, fun(Server) ->
            Socket = ws_client:open(Server),
            ws_client:send(Socket, {text, <<>>}),
            ws_client:recv_all(Socket)
        end).

%% The process of init/2 ends normally once the upgrade has been asked for.
the_process_of_init_ends(_) ->
    #{calls := Calls} = same_test:same(#{
        order => any, alone_over_http2 => websocket_process_over_http_2, handler => {ws_script_h, #{
        init => fun(Req, #{probe := Probe} = State) ->
            probe:watch(Probe, init_exit),
            {cowboy_websocket, Req, State}
        end
    }}}, fun(#{probe := Probe} = Server) ->
        Socket = ws_client:open(Server),
        probe:await(Probe, {init_exit, normal}),
        probe:await(Probe, websocket_init),
        http_client:close(Socket)
    end),
    true = lists:member({init_exit, normal}, Calls).

%% What the callbacks find in their process.
its_surroundings(_) ->
    #{calls := [websocket_init, {surroundings, Surroundings} | _]} = same_test:same(#{handler => {ws_script_h, #{
        websocket_init => fun(#{probe := Probe} = State) ->
            probe:note(Probe, {surroundings, #{
                trap_exit => process_info(self(), trap_exit),
                priority => process_info(self(), priority),
                messages => process_info(self(), messages),
                registered_name => process_info(self(), registered_name),
                dictionary => lists:sort([Key || {Key, _} <- get(), Key =/= '$process_label']),
                first_ancestor_is_linked => lists:member(hd(get('$ancestors')),
                    element(2, process_info(self(), links)))
            }}),
            {[], State}
        end
    }}}, fun(Server) -> http_client:close(ws_client:open(Server)) end),
    #{trap_exit := {trap_exit, false}, priority := {priority, normal}, messages := {messages, []},
        registered_name := [], dictionary := ['$ancestors', '$initial_call'], first_ancestor_is_linked := true} = Surroundings,
    ok.

%% What tools show of it, since OTP 27.
the_label_of_its_process(_) ->
    same_test:label(#{handler => {ws_script_h, #{
        websocket_handle => fun(_, State) ->
            {[{text, io_lib:format("~0p", [cowboys(transcript:plain(get('$process_label')))])}], State}
        end
    }}}, fun(Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, ping),
        pong = ws_client:recv(Socket),
        {text, Label} = ws_client:recv(Socket),
        http_client:close(Socket),
        Label
    end, {<<"undefined">>, <<"{cowboy_websocket,listener}">>}).

%% Ours says the client's address and path, too.
cowboys({cowboy_websocket, Ref, _Peer, <<"/">>}) -> {cowboy_websocket, Ref};
cowboys(Label) -> Label.

what_init_left_in_its_process_stays_there(_) ->
    #{calls := [websocket_init, {dictionary, undefined}, {trap_exit, false} | _]} =
        same_test:same(#{alone_over_http2 => websocket_process_over_http_2, handler => {ws_script_h, #{
            init => fun(Req, State) ->
                put(word, from_init),
                process_flag(trap_exit, true),
                self() ! for_init_only,
                {cowboy_websocket, Req, State}
            end,
            websocket_init => fun(#{probe := Probe} = State) ->
                probe:note(Probe, {dictionary, get(word)}),
                probe:note(Probe, process_info(self(), trap_exit)),
                {[], State}
            end
        }}}, fun(Server) ->
            Socket = ws_client:open(Server),
            ws_client:send(Socket, close),
            ws_client:recv_all(Socket)
        end).

%%% Req in terminate/3

-define(REQ(Method, Version, Scheme, Port), #{method := Method, version := Version, scheme := Scheme, host := <<"localhost">>, port := Port,
    path := <<"/a/b">>, qs := <<"c=d">>, peer := {{127, 0, 0, 1}, _}}).

%% Cowboy 2.14 added the key streamid.
partial_req(_) ->
    {Scheme, Port} = same_test:scheme(),
    {Method, Version} = same_test:handshake(),
    Check = fun(Size) -> fun(#{calls := [websocket_init, {terminate, remote}, {req, Req}, _]}) ->
        ?REQ(Method, Version, Scheme, Port) = Req,
        Size = map_size(Req)
    end end,
    same_test:differ_before({2, 14}, streamid_in_partial_req, #{handler => {ws_script_h, #{partial_req => true}}}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, ws_client:handshake("/a/b?c=d")),
        #{status := 101} = http_client:response(Socket),
        ws_client:send(Socket, close),
        ws_client:recv_all(Socket)
    end, #{cowboy => Check(8), outrider => Check(9)}).

req_filter(_) ->
    #{calls := [websocket_init, {terminate, remote}, {req, {filtered, <<"localhost">>, 2}}, {exit, normal}]} =
        same_test:same(#{handler => {ws_script_h, #{
            partial_req => true,
            init => fun(Req, State) ->
                {cowboy_websocket, Req#{own => 2}, State, #{req_filter => fun(#{host := Host} = R) ->
                    {filtered, Host, maps:get(own, R)}
                end}}
            end
        }}}, fun(Server) ->
            Socket = ws_client:open(Server),
            ws_client:send(Socket, close),
            ws_client:recv_all(Socket)
        end).

%%% Its mailbox

every_other_message_goes_to_websocket_info(_) ->
    Messages = [hello, {tuple, 1}, <<"binary">>, {'$gen_cast', cast}, {'DOWN', a, b, c, d}, {tcp, no_socket, <<"x">>},
        {timeout, make_ref(), other}, {'EXIT', self(), reason}, {data, fin, <<"x">>}, {credit, 5}, {text, <<"x">>},
        {ping, <<"x">>}, {closed, remote}, {{self(), 1}, {response, 200, #{}, <<>>}}],
    #{calls := [websocket_init | Calls]} = same_test:same(#{handler => {ws_script_h, #{}}},
        fun(#{probe := Probe} = Server) ->
            Socket = ws_client:open(Server),
            Pid = probe:process(Probe),
            _ = [Pid ! Message || Message <- Messages],
            Pid ! last,
            probe:await(Probe, {websocket_info, last}),
            http_client:close(Socket)
        end),
    [{terminate, {error, closed}}, {exit, normal}] = lists:nthtail(length(Messages) + 1, Calls),
    Plain = transcript:plain(Messages) ++ [last],
    Plain = [Message || {websocket_info, Message} <- Calls].

%% Cowboy takes such a message, of whatever timer, for one of its own and drops it.
timer_messages_in_the_name_of_cowboy_websocket(_) ->
    same_test:differ(timer_messages, #{handler => {ws_script_h, #{}}}, fun(#{probe := Probe} = Server) ->
        Socket = ws_client:open(Server),
        Pid = probe:process(Probe),
        Pid ! {timeout, make_ref(), cowboy_websocket},
        Pid ! last,
        probe:await(Probe, {websocket_info, last}),
        http_client:close(Socket)
    end, #{
        cowboy => fun(#{calls := [_, {websocket_info, last} | _]}) -> ok end,
        outrider => fun(#{calls := [_, {websocket_info, {timeout, _, _}}, {websocket_info, last} | _]}) -> ok end
    }).

%% Cowboy takes such a message, on HTTP/1.1 too, for bytes of the client.
request_body_messages(_) ->
    Frame = iolist_to_binary(ws_client:bytes({text, <<"from a message">>})),
    same_test:differ(request_body_messages, #{handler => {ws_script_h, #{}}}, fun(#{probe := Probe} = Server) ->
        Socket = ws_client:open(Server),
        Pid = probe:process(Probe),
        Pid ! {request_body, ref, nofin, Frame},
        Pid ! last,
        probe:await(Probe, {websocket_info, last}),
        http_client:close(Socket)
    end, #{
        cowboy => fun(#{calls := [_, {websocket_handle, {text, <<"from a message">>}} | _]}) -> ok end,
        outrider => fun(#{calls := [_, {websocket_info, {request_body, ref, nofin, Frame_}} | _]}) -> Frame_ = Frame end
    }).

%% gen_server:call/2 has always been answered so.
calls_are_answered_by_an_error(_) ->
    #{wire := {error, not_found}, calls := [websocket_init, {terminate, _}, {exit, normal}]} =
        same_test:same(#{handler => {ws_script_h, #{}}}, fun(#{probe := Probe} = Server) ->
            Socket = ws_client:open(Server),
            Answer = gen_server:call(probe:process(Probe), question),
            http_client:close(Socket),
            Answer
        end).

casts_reach_websocket_info(_) ->
    #{wire := {text, <<"cast">>}} = same_test:same(#{handler => {ws_script_h, #{
        websocket_info => fun({'$gen_cast', word}, State) -> {[{text, <<"cast">>}], State} end
    }}}, fun(#{probe := Probe} = Server) ->
        Socket = ws_client:open(Server),
        gen_server:cast(probe:process(Probe), word),
        ws_client:recv(Socket)
    end).

%% For a supervision tree's tools the process is a supervisor without children.
supervisor_calls(_) ->
    #{wire := {[], [{specs, 1}, {active, 0}, {supervisors, 0}, {workers, 0}], {error, start_child_disabled}}} =
        same_test:same(#{handler => {ws_script_h, #{}}}, fun(#{probe := Probe} = Server) ->
            Socket = ws_client:open(Server),
            Pid = probe:process(Probe),
            Answers = {supervisor:which_children(Pid), supervisor:count_children(Pid),
                supervisor:start_child(Pid, #{id => x, start => {x, x, []}})},
            http_client:close(Socket),
            Answers
        end).

%% The message is sent when the switch has begun.
messages_after_the_upgrade_was_asked_for_are_kept(_) ->
    #{calls := [websocket_init, {websocket_info, sent_at_switch} | _]} = same_test:same(#{
        alone_over_http2 => websocket_process_over_http_2, handler => {ws_script_h, #{}},
        protocol => #{stream_handlers => [message_at_switch_stream_h, cowboy_stream_h]}
    }, fun(#{probe := Probe} = Server) ->
        Socket = ws_client:open(Server),
        probe:await(Probe, {websocket_info, sent_at_switch}),
        http_client:close(Socket)
    end).

%% Before that the process belongs to HTTP, which has no use for strangers' messages.
messages_before_the_upgrade_was_asked_for_are_dropped(_) ->
    #{calls := [websocket_init, {terminate, remote}, {exit, normal}],
        log := [{warning, <<"Received stray message too_early.\n">>}]} =
        same_test:same(#{alone_over_http2 => websocket_process_over_http_2, handler => {ws_script_h, #{
            init => fun(#{pid := Pid} = Req, State) -> Pid ! too_early, {cowboy_websocket, Req, State} end
        }}}, fun(Server) ->
            Socket = ws_client:open(Server),
            ws_client:send(Socket, close),
            ws_client:recv_all(Socket)
        end).

%%% The listener stops

%% Cowboy's WebSockets vanish without a word.
stop_listener(_) ->
    same_test:differ(websockets_when_the_listener_stops, #{
        alone_over_http2 => lost_websocket_over_http_2, handler => {ws_script_h, #{}}},
        fun(#{name := Name, ref := Ref} = Server) ->
            Socket = ws_client:open(Server),
            probe:process(maps:get(probe, Server)),
            ok = Name:stop_listener(Ref),
            ws_client:recv_all(Socket)
        end, #{
            cowboy => fun(#{wire := [closed], calls := [websocket_init, {exit, shutdown}]}) -> ok end,
            outrider => fun(#{wire := [{close, 1001, <<>>}, closed],
                calls := [websocket_init, {terminate, shutdown}, {exit, _}]}) -> ok end
        }).
