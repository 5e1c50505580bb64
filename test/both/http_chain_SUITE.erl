%% The commands of stream handlers, each from a handler of a user's own, and what happens when a stream handler crashes.
-module(http_chain_SUITE).

-compile([export_all, nowarn_export_all]).

all() ->
    same_test:cases(?MODULE).

%% A listener whose only stream handler plays this script.
chain(Script, Request, Count) ->
    chain(Script, Request, Count, #{stream_handlers => [command_stream_h]}).

chain(Script, Request, Count, Protocol) ->
    same_test:same(#{order => any, protocol => Protocol#{env => #{script => Script}}}, fun(Server) ->
        Socket = http_client:connect(Server),
        [begin
            _ = http_client:send(Socket, Request),
            case http_client:response(Socket) of
                #{status := Status, body := Body} -> {Status, Body};
                Ended -> Ended
            end
        end || _ <- lists:seq(1, Count)]
    end).

-define(GET, http_client:request("GET", "/")).
-define(OK, {response, 200, #{<<"content-length">> => <<"2">>}, <<"ok">>}).

response(_) ->
    #{wire := [{200, <<"ok">>}, {200, <<"ok">>}], calls := [{terminate, normal}, {terminate, normal}], log := []} =
        chain(#{init => fun(_, _) -> [?OK, stop] end}, ?GET, 2).

headers_and_data(_) ->
    #{wire := [{200, [<<"a">>, <<"b">>]}]} = chain(#{init => fun(_, _) ->
        [{headers, 200, #{}}, {data, nofin, <<"a">>}, {data, fin, <<"b">>}, stop]
    end}, ?GET, 1).

nothing_but_stop(_) ->
    #{wire := [{204, <<>>}, {204, <<>>}]} = chain(#{init => fun(_, _) -> [stop] end}, ?GET, 2).

%% The answer of last resort: only if there is none yet.
error_response(_) ->
    #{wire := [{418, <<"tea">>}]} = chain(#{init => fun(_, _) ->
        [{error_response, 418, #{<<"content-length">> => <<"3">>}, <<"tea">>}, stop]
    end}, ?GET, 1).

error_response_after_an_answer(_) ->
    #{wire := [{200, <<"ok">>}, {200, <<"ok">>}]} = chain(#{init => fun(_, _) ->
        [?OK, {error_response, 500, #{<<"content-length">> => <<"0">>}, <<>>}, stop]
    end}, ?GET, 2).

internal_error(_) ->
    Wire = failed(),
    #{wire := Wire, calls := [{terminate, {internal_error, why, 'For people.'}} | _]} =
        chain(#{init => fun(_, _) -> [{internal_error, why, 'For people.'}] end}, ?GET, length(Wire)).

%% What requests get whose chain fails before it has answered: in HTTP/2 the reset of their stream, with which the tunnel is over.
failed() ->
    case same_test:is_http2() of
        true -> [closed];
        false -> [{500, <<>>}, {500, <<>>}]
    end.

log(_) ->
    #{log := [{error, <<"said 1">>}]} = chain(#{init => fun(_, _) -> [{log, error, "said ~p", [1]}, ?OK, stop] end}, ?GET, 1).

set_options_and_push_and_unknown_flow(_) ->
    #{wire := [{200, <<"ok">>}], log := []} = chain(#{init => fun(_, _) -> [
        {set_options, #{unknown => 1}}, {push, <<"GET">>, <<"http">>, <<"localhost">>, 80, <<"/">>, <<>>, #{}}, ?OK, stop
    ] end}, ?GET, 1).

%% A body is delivered to the chain as far as `flow' allows it.
data_and_flow(_) ->
    Size = 300000,
    #{wire := [{200, <<"ok">>}], calls := [{terminate, normal}]} = chain(#{
        init => fun(_, _) -> [{flow, Size}] end,
        data => fun
            (fin, _, _) -> [?OK, stop];
            (nofin, _, _) -> []
        end
    }, http_client:request("POST", "/", [{"Content-Length", integer_to_list(Size)}], binary:copy(<<"x">>, Size)), 1,
        #{stream_handlers => [command_stream_h], initial_stream_flow_size => 100}).

%% A process of the stream is told to shut down when the stream ends, and killed if it does not.
spawned_processes(_) ->
    #{wire := [{200, <<"ok">>}], calls := Calls} = chain(#{init => fun(_, #{probe := Probe}) ->
        Test = self(),
        Heeds = spawn_link(fun() -> probe:watch(Probe, heeds), Test ! {self(), ready}, receive never -> ok end end),
        Ignores = spawn_link(fun() ->
            process_flag(trap_exit, true),
            probe:watch(Probe, ignores),
            Test ! {self(), ready},
            receive never -> ok end
        end),
        _ = [receive {Pid, ready} -> ok end || Pid <- [Heeds, Ignores]],
        [{spawn, Heeds, 1000}, {spawn, Ignores, 100}, ?OK, stop]
    end}, ?GET, 1),
    [{heeds, shutdown}, {ignores, killed}, {terminate, normal}] = Calls.

%% What nobody knows is given to the chain, and what is sent to a stream that is over is dropped.
messages_to_the_stream(_) ->
    #{wire := [{200, <<"ok">>}], calls := [{terminate, normal}, {told, something}]} = chain(#{
        init => fun(#{pid := Pid, streamid := Id}, _) -> Pid ! {{Pid, Id}, something}, [] end,
        info => fun(Info, #{probe := Probe}) -> probe:note(Probe, {told, Info}), [?OK, stop] end
    }, ?GET, 1).

%%% Crashes

init_crashes(_) ->
    Wire = failed(),
    Log = [{error, stream_handler, oops} || _ <- Wire],
    #{wire := Wire, log := Log} = chain(#{init => fun(_, _) -> error(oops) end}, ?GET, length(Wire)).

info_crashes(_) ->
    [Failed | _] = failed(),
    #{wire := [Failed], calls := [{terminate, {internal_error, {error, oops}, _}}],
        log := [{error, stream_handler, oops}]} = chain(#{
            init => fun(#{pid := Pid, streamid := Id}, _) -> Pid ! {{Pid, Id}, something}, [] end,
            info => fun
                (something, _) -> error(oops);
                (Response, _) -> [Response]
            end
        }, ?GET, 1).

terminate_crashes(_) ->
    #{wire := [{200, <<"ok">>}, {200, <<"ok">>}],
        log := [{error, stream_handler, oops}, {error, stream_handler, oops}]} = chain(#{
            init => fun(_, _) -> [?OK, stop] end, terminate => fun(_, _) -> error(oops) end}, ?GET, 2).

%% The protocol option `logger' is a module with a function for each level.
a_logger_of_ones_own(_) ->
    #{calls := Calls} = same_test:same(#{
        handler => {http_script_h, #{init => fun(_, #{probe := Probe}) ->
            persistent_term:put(note_logger, Probe),
            error(oops)
        end}},
        protocol => #{logger => note_logger}
    }, fun(#{probe := Probe} = Server) ->
        #{status := 500} = http_client:get(Server, "/"),
        probe:await(Probe, {error_logged, true, true})
    end),
    true = lists:member({error_logged, true, true}, Calls).
