%%% A page that shows what a listener does, live: an ordinary Cowboy handler, to be routed to in any listener, also in one of Cowboy's.
%%%
%%%     {"/dashboard/[...]", outrider_dashboard, #{listener => chat, may => fun my_app:may/2}}
%%%
%%% Serves the files of priv/dashboard and a WebSocket beside them, whose messages are JSON from outrider_dashboard_feed and, for
%%% one viewer alone, from here; the browser says a word and what belongs to it, with a space between. docs/operations.md says
%%% what is shown to whom.
-module(outrider_dashboard).
-behaviour(cowboy_websocket).

-export([init/2, websocket_init/1, websocket_handle/2, websocket_info/2]).
-export_type([options/0, action/0]).

-include_lib("kernel/include/logger.hrl").

-type action() ::
    %% The page, and its numbers.
    look
    %% The addresses of clients and the paths that they asked for.
    | peers
    %% Close one.
    | kick
    %% See the headers of one's frames as they pass; never what is in them.
    | trace.
-type options() :: #{
    %% Default: the listener that has the route.
    listener => ranch:ref(),
    %% Asked for each action when the page is opened, and again before each kick and trace. Default: look alone.
    may => fun((action(), cowboy_req:req()) -> boolean()),
    %% Where pages come from that may open the WebSocket, as browsers write it: <<"https://ops.example.org">>. Default: that
    %% of the request itself.
    origins => [binary()]
}.

-define(FILES, #{
    <<"index.html">> => <<"text/html; charset=utf-8">>,
    <<"dashboard.css">> => <<"text/css; charset=utf-8">>,
    <<"dashboard.js">> => <<"text/javascript; charset=utf-8">>,
    <<"icon.svg">> => <<"image/svg+xml">>
}).
-define(HEADERS, #{
    <<"content-security-policy">> =>
        <<"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
          "form-action 'none'; frame-ancestors 'none'">>,
    <<"x-content-type-options">> => <<"nosniff">>,
    <<"referrer-policy">> => <<"no-referrer">>,
    <<"cross-origin-resource-policy">> => <<"same-origin">>,
    <<"cache-control">> => <<"no-cache">>
}).
%% Of Outrider; Cowboy ignores the last two. The page says something each 20 seconds.
-define(WEBSOCKET, #{max_frame_size => 256, compress => true, idle_timeout => 120000, max_backlog => 262144, on_backlog => drop}).
-define(TRACE, #{frames => 200, time => 30000}).
-define(KICKED, <<"closed by an operator">>).

-record(viewer, {
    ref :: ranch:ref(),
    req :: cowboy_req:req(),
    options :: options(),
    feed :: reference() | undefined,
    trace :: pid() | undefined
}).

-spec init(cowboy_req:req(), options()) ->
    {ok, cowboy_req:req(), options()} | {cowboy_websocket, cowboy_req:req(), #viewer{}, cowboy_websocket:opts()}.
init(Req = #{method := Method}, Options) ->
    case may(look, Req, Options) of
        false -> reply(403, Req, Options);
        true when Method =:= <<"GET">>; Method =:= <<"HEAD">> -> get(cowboy_req:path_info(Req), Req, Options);
        %% Over HTTP/2 (RFC 8441). What it is a handshake of, Cowboy looks at.
        true when Method =:= <<"CONNECT">>, map_get(path_info, Req) =:= [<<"socket">>] -> get([<<"socket">>], Req, Options);
        true -> reply(405, #{<<"allow">> => <<"GET, HEAD">>}, <<>>, Req, Options)
    end.

get([<<"socket">>], Req = #{ref := Own}, Options) ->
    case is_from_here(Req, Options) of
        true -> {cowboy_websocket, Req, #viewer{ref = maps:get(listener, Options, Own), req = Req, options = Options}, ?WEBSOCKET};
        false -> reply(403, Req, Options)
    end;
get([], Req, Options) ->
    Path = cowboy_req:path(Req),
    case binary:last(Path) of
        $/ -> file(<<"index.html">>, Req, Options);
        %% What the page refers to lies below it. Relative, for a proxy may know it by another path.
        _ -> reply(308, #{<<"location">> => [lists:last(binary:split(Path, <<"/">>, [global])), $/]}, <<>>, Req, Options)
    end;
get([Name], Req, Options) ->
    file(Name, Req, Options);
get(_, Req, Options) ->
    reply(404, Req, Options).

file(Name, Req, Options) ->
    case ?FILES of
        #{Name := Type} ->
            {ok, Content} = file:read_file(filename:join([code:priv_dir(outrider), "dashboard", Name])),
            reply(200, #{<<"content-type">> => Type}, Content, Req, Options);
        #{} ->
            reply(404, Req, Options)
    end.

reply(Status, Req, Options) ->
    reply(Status, #{}, <<>>, Req, Options).

reply(Status, Headers, Content, Req, Options) ->
    {ok, cowboy_req:reply(Status, maps:merge(?HEADERS, Headers), Content, Req), Options}.

may(Action, Req, #{may := May}) -> May(Action, Req) =:= true;
may(look, _, _) -> true;
may(_, _, _) -> false.

%% A page of somebody else must not look, nor order, with what our user's browser is trusted for (RFC 6455, 10.2).
is_from_here(Req, Options) ->
    case {cowboy_req:header(<<"origin">>, Req), Options} of
        {undefined, _} -> false;
        {Origin, #{origins := Origins}} -> lists:member(Origin, Origins);
        {Origin, _} -> lists:last(binary:split(Origin, <<"://">>)) =:= authority(Req)
    end.

%% As the browser wrote it. The scheme may be a proxy's in front of us.
authority(#{headers := #{<<"host">> := Host}}) ->
    Host;
authority(Req) ->
    [_, Authority] = binary:split(iolist_to_binary(cowboy_req:uri(Req, #{path => undefined, qs => undefined})), <<"//">>),
    Authority.

-spec websocket_init(#viewer{}) -> {cowboy_websocket:commands(), #viewer{}}.
websocket_init(Viewer = #viewer{ref = Ref, req = Req, options = Options}) ->
    Hello = #{
        kind => hello, listener => outrider_text:name(Ref), node => node(), sorts => outrider_dashboard_feed:sorts(),
        may => maps:from_list([{Action, may(Action, Req, Options)} || Action <- [peers, kick, trace]])
    },
    join(backlog, [json(Hello)], Viewer).

join(Sort, Frames, Viewer = #viewer{ref = Ref, req = Req, options = Options}) ->
    case outrider_dashboard_feed:look(Ref, #{sort => Sort, peers => may(peers, Req, Options), by => by()}) of
        {ok, Feed} -> {Frames, watch(Feed, Viewer)};
        {error, too_many} -> {[{close, 1013, <<"too many viewers">>}], Viewer}
    end.

watch(Feed, Viewer = #viewer{feed = undefined}) -> Viewer#viewer{feed = monitor(process, Feed)};
watch(_, Viewer) -> Viewer.

%% How frames get to this process' client: past it, where it is a WebSocket of Outrider's.
by() ->
    try outrider:backlog() of
        #{} -> sidecar
    catch
        error:badarg -> process
    end.

-spec websocket_handle(cow_ws:frame(), #viewer{}) -> {cowboy_websocket:commands(), #viewer{}}.
websocket_handle({text, Text}, Viewer) ->
    case binary:split(Text, <<" ">>) of
        [<<"sort">>, Name] -> sort(Name, Viewer);
        [<<"kick">>, Id] -> order(kick, Id, Viewer);
        [<<"trace">>, Id] -> order(trace, Id, untraced(Viewer));
        [<<"untrace">>] -> {[], untraced(Viewer)};
        %% It is still there.
        _ -> {[], Viewer}
    end;
websocket_handle(_Frame, Viewer) ->
    {[], Viewer}.

sort(Name, Viewer) ->
    case [Sort || Sort <- outrider_dashboard_feed:sorts(), atom_to_binary(Sort) =:= Name] of
        [Sort] -> join(Sort, [], Viewer);
        [] -> {[], Viewer}
    end.

order(Action, Text, Viewer = #viewer{ref = Ref, req = Req, options = Options}) ->
    case {may(Action, Req, Options), outrider_dashboard_feed:id(Ref, Text)} of
        {false, _} -> answer(Action, Text, not_allowed, Viewer);
        {true, undefined} -> answer(Action, Text, not_found, Viewer);
        {true, Id} -> carry_out(Action, Id, Text, Viewer)
    end.

carry_out(kick, Id, Text, Viewer = #viewer{ref = Ref, req = #{peer := Peer}}) ->
    Outcome = outcome(outrider:kick(Id, 1008, ?KICKED)),
    ?LOG_NOTICE("Outrider listener ~0tp: client ~ts kicked from the dashboard by ~0tp: ~ts", [Ref, Text, Peer, Outcome]),
    answer(kick, Text, Outcome, Viewer);
carry_out(trace, Id, Text, Viewer) ->
    case outrider:trace(Id, ?TRACE) of
        {ok, Trace} -> answer(trace, Text, ok, Viewer#viewer{trace = Trace});
        Error -> answer(trace, Text, outcome(Error), Viewer)
    end.

outcome(ok) -> ok;
outcome({error, Reason}) when is_atom(Reason) -> Reason;
outcome({error, _}) -> failed.

answer(Action, Id, Outcome, Viewer) ->
    {[json(#{kind => Action, id => Id, outcome => Outcome})], Viewer}.

untraced(Viewer = #viewer{trace = undefined}) ->
    Viewer;
untraced(Viewer = #viewer{trace = Trace}) ->
    ok = outrider:stop_trace(Trace),
    Viewer#viewer{trace = undefined}.

-spec websocket_info(term(), #viewer{}) -> {cowboy_websocket:commands(), #viewer{}}.
websocket_info({outrider, dashboard, Frame}, Viewer) ->
    {[Frame], Viewer};
websocket_info({outrider, trace, Trace, Frame}, Viewer = #viewer{trace = Trace}) ->
    {[json((maps:with([direction, time, opcode, fin, rsv, size], Frame))#{kind => frame})], Viewer};
websocket_info({outrider, trace_end, Trace, End}, Viewer = #viewer{trace = Trace}) ->
    {[json((maps:with([reason, frames, missed], End))#{kind => trace_end})], Viewer#viewer{trace = undefined}};
websocket_info({'DOWN', Feed, process, _, _}, Viewer = #viewer{feed = Feed}) ->
    {[{close, 1011, <<>>}], Viewer};
websocket_info(_Message, Viewer) ->
    {[], Viewer}.

json(Message) ->
    {text, outrider_json:encode(Message)}.
