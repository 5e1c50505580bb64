%% The process of a request: its surroundings, what tools see of it, and what happens to it when operators end its connection or the
%% listener stops. How it ends by itself is in http_crashes_SUITE, how by its client in http_client_gone_SUITE.
-module(http_process_SUITE).

-compile([export_all, nowarn_export_all]).

all() ->
    same_test:cases(?MODULE).

%%% Its surroundings

its_surroundings(_) ->
    #{linked := true, ancestor := true, trap_exit := {trap_exit, false}, same := false,
        initial_call := {cowboy_stream_h, request_process, 3}} = http_case:noted(fun(#{pid := Pid}) -> #{
            linked => lists:member(Pid, element(2, process_info(self(), links))),
            ancestor => hd(get('$ancestors')) =:= Pid,
            trap_exit => process_info(self(), trap_exit),
            same => Pid =:= self(),
            initial_call => get('$initial_call')
        } end, "/").

each_request_has_a_process_of_its_own(_) ->
    #{wire := different} = http_case:serve(fun(Req) ->
        cowboy_req:reply(200, #{}, pid_to_list(self()), Req)
    end, #{}, fun(Server) ->
        Socket = http_client:connect(Server),
        [One, Two] = [begin
            http_client:send(Socket, http_client:request("GET", "/")),
            maps:get(body, http_client:response(Socket))
        end || _ <- [1, 2]],
        case One of Two -> same; _ -> different end
    end).

%% In Cowboy it is the connection's process, in Outrider the stream's, which two have not at a time.
pid_of_req(_) ->
    same_test:differ(pid_per_request, #{handler => {http_script_h, #{silent => true, init => fun
        (#{pid := Pid} = Req, #{probe := Probe} = State) ->
            Req2 = cowboy_req:reply(200, #{}, pid_to_list(Pid), Req),
            go_on = probe:await(Probe, go_on),
            {ok, Req2, State}
    end}}}, fun(#{name := Name, probe := Probe} = Server) ->
        Socket = http_client:connect(Server),
        Ask = fun() ->
            http_client:send(Socket, http_client:request("GET", "/")),
            maps:get(body, http_client:response(Socket))
        end,
        One = Ask(),
        %% Only Outrider answers while the handler before goes on.
        Name =:= cowboy andalso probe:note(Probe, go_on),
        Two = Ask(),
        probe:note(Probe, go_on),
        One =:= Two
    end, #{cowboy => fun(#{wire := true}) -> ok end, outrider => fun(#{wire := false}) -> ok end}).

%% What tools show of Req's pid, since OTP 27.
the_label_of_its_process(_) ->
    Label = case same_test:is_http2() of true -> <<"{cowboy_http2,listener}">>; false -> <<"{cowboy_http,listener}">> end,
    same_test:label(#{handler => {http_script_h, #{
        init => fun(#{pid := Pid} = Req, State) ->
            {dictionary, Dictionary} = process_info(Pid, dictionary),
            Shown = transcript:plain(proplists:get_value('$process_label', Dictionary)),
            {ok, cowboy_req:reply(200, #{<<"label">> => io_lib:format("~0p", [Shown])}, Req), State}
        end
    }}}, fun(Server) ->
        http_client:header(<<"label">>, http_client:get(Server, "/"))
    end, {<<"undefined">>, Label}).

%%% Operators end it

%% Operators send clients away so: the answer is finished, says that the connection closes, and it does.
sys_terminate(_) ->
    #{wire := {200, <<"close">>, closed}, calls := [ready, {terminate, normal}, {exit, normal}]} =
        terminated(fun(Req, Wait) -> Wait(), cowboy_req:reply(200, Req) end, fun(Socket, Terminate) ->
            Terminate(),
            #{status := Status} = Response = http_client:response(Socket),
            {Status, http_client:header(<<"connection">>, Response), http_client:closed(Socket)}
        end).

%% It closes also where the answer's head has said nothing of it.
sys_terminate_behind_the_head(_) ->
    #{wire := {200, undefined, [<<"one">>, <<"two">>, last], closed}} =
        terminated(fun(Req0, Wait) ->
            Req = cowboy_req:stream_reply(200, Req0),
            ok = cowboy_req:stream_body(<<"one">>, nofin, Req),
            Wait(),
            ok = cowboy_req:stream_body(<<"two">>, fin, Req),
            Req
        end, fun(Socket, Terminate) ->
            #{status := Status} = Head = http_client:head(Socket),
            One = http_client:chunk(Socket),
            Terminate(),
            Chunks = [One, http_client:chunk(Socket), http_client:chunk(Socket)],
            <<"\r\n">> = http_client:bytes(Socket, 2),
            {Status, http_client:header(<<"connection">>, Head), Chunks, http_client:closed(Socket)}
        end).

%% Answer waits in the middle, Client has the process of its request terminated, and goes on to read.
terminated(Answer, Client) ->
    same_test:same(#{handler => {http_script_h, #{
        init => fun(Req, #{probe := Probe} = State) ->
            {ok, Answer(Req, fun() -> probe:note(Probe, ready), receive go -> ok end end), State}
        end
    }}}, fun(#{probe := Probe} = Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        Client(Socket, fun() ->
            ready = probe:await(Probe, ready),
            Handler = probe:process(Probe),
            {dictionary, Dictionary} = process_info(Handler, dictionary),
            ok = sys:terminate(hd(proplists:get_value('$ancestors', Dictionary)), enough),
            Handler ! go
        end)
    end).

%% The listener's stop lets a request finish; its answer says that the connection closes.
the_listener_stops_while_a_request_runs(_) ->
    #{wire := {200, <<"close">>, closed}} = same_test:same(#{handler => {http_script_h, #{
        init => fun(Req, #{probe := Probe} = State) ->
            probe:note(Probe, ready),
            receive go -> ok end,
            {ok, cowboy_req:reply(200, Req), State}
        end
    }}}, fun(#{name := Name, ref := Ref, probe := Probe} = Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        probe:await(Probe, ready),
        Handler = probe:process(Probe),
        {dictionary, Dictionary} = process_info(Handler, dictionary),
        [Connection | _] = proplists:get_value('$ancestors', Dictionary),
        1 = erlang:trace(Connection, true, ['receive']),
        {Stopper, Monitor} = spawn_monitor(fun() -> ok = Name:stop_listener(Ref) end),
        %% Nobody can connect before the connection is told: then the answer is to say so.
        receive {trace, Connection, 'receive', {'EXIT', _, shutdown}} -> ok end,
        Handler ! go,
        #{status := Status} = Answer = http_client:response(Socket),
        receive {'DOWN', Monitor, process, Stopper, normal} -> ok end,
        {Status, http_client:header(<<"connection">>, Answer), http_client:closed(Socket)}
    end).
