%%% Reads what cowboy_websocket:upgrade/4,5 leaves in its switch_protocol message: who handles the WebSocket, and how.
%%%
%%% Runs in the stream's process. The message holds Cowboy's own record, whose fields are found by their place, counted
%%% from the front or from the back: so it is the same from Cowboy 2.12 to 2.18. If the upgrade negotiated compression
%%% itself (code that calls it directly), its two zlib contexts are closed here and its answer is dropped: the sidecar
%%% negotiates anew by the same rules. What the sidecar could not decode fails here, in this stream alone.
-module(outrider_upgrade).

-export([read/3, headers/2, own/1, flush/1, set_options/1]).
-export_type([init/0]).

%% The handler, its state, and the request that terminate/3 gets.
-type init() :: {module(), HandlerState :: term(), PartialReq :: term()}.

-define(OPTS, 6).
-define(HANDLER, 8).
-define(EXTENSIONS_FROM_END, 2).
-define(REQ_FROM_END, 1).

-spec read({tuple(), term()}, cowboy:http_version(), cowboy_stream:streamid()) -> {init(), Options :: map()}.
read({Record, HandlerState}, Version, StreamId) when element(1, Record) =:= state ->
    Size = tuple_size(Record),
    Opts = element(?OPTS, Record),
    ok = close_zlib(element(Size - ?EXTENSIONS_FROM_END, Record)),
    Req =
        case {Opts, element(Size - ?REQ_FROM_END, Record)} of
            {#{req_filter := _}, Filtered} -> Filtered;
            %% As Cowboy 2.14 and newer.
            {_, Partial} -> as_it_was(Version, shared(Partial#{streamid => StreamId}))
        end,
    {{element(?HANDLER, Record), HandlerState, Req}, options(Opts)}.

%% Over HTTP/2 Cowboy has been shown another request; see outrider_handler.
as_it_was('HTTP/2', Partial) -> Partial#{method := <<"CONNECT">>, version := 'HTTP/2'};
as_it_was(_, Partial) -> Partial.

%% The same map. Its keys, and the values that most have, are this module's literals instead of the process's own: a tenth
%% of what an idle WebSocket holds in the VM. The keys are while no value is written here: then the map is made anew, and
%% not from one that has that value.
shared(#{
    method := Method, version := Version, scheme := Scheme, host := Host, port := Port, path := Path, qs := Qs,
    peer := Peer, streamid := Id
} = Partial) when map_size(Partial) =:= 9 ->
    #{
        method => literal(Method), version => Version, scheme => literal(Scheme), host => Host, port => Port, path => Path,
        qs => literal(Qs), peer => Peer, streamid => Id
    };
shared(Partial) ->
    Partial.

literal(<<"GET">>) -> <<"GET">>;
literal(<<"http">>) -> <<"http">>;
literal(<<>>) -> <<>>;
literal(Value) -> Value.

%% The answer's headers, without the extensions, and without what HTTP/2 does not have.
-spec headers(cowboy:http_version(), cowboy:http_headers()) -> cowboy:http_headers().
headers('HTTP/2', Headers) ->
    maps:without([<<"connection">>, <<"upgrade">>, <<"sec-websocket-accept">>], headers('HTTP/1.1', Headers));
headers(_, Headers) ->
    maps:remove(<<"sec-websocket-extensions">>, Headers).

%% The options that are not the sidecar's: whether the handler is told that its listener is being drained, whether it begins with its
%% first message, and the topics to which its client is subscribed at once.
-spec own({tuple(), term()}) -> #{drain := boolean(), lazy := boolean(), subscribe := [outrider_broadcast:topic()]}.
own({Record, _}) ->
    Given = maps:with([drain, lazy, subscribe], element(?OPTS, Record)),
    maps:merge(#{drain => false, lazy => false, subscribe => []}, maps:map(fun checked/2, Given)).

%% What was meant for the request goes; every other message is the WebSocket handler's.
-spec flush(pid()) -> ok.
flush(Parent) ->
    Self = self(),
    receive
        {timeout, _, _} -> flush(Parent);
        {{Self, _}, _} -> flush(Parent);
        {'EXIT', Pid, _} when Pid =/= Parent -> flush(Parent)
    after 0 -> ok
    end.

%% The options that a handler can change while its WebSocket runs.
-spec set_options(map()) -> map().
set_options(Map) ->
    maps:map(fun checked/2, maps:with([idle_timeout, max_frame_size, ping_interval, pong_timeout], Map)).

options(Opts) ->
    Keys = [idle_timeout, max_frame_size, validate_utf8, max_backlog, on_backlog, ping_interval, pong_timeout],
    Options = maps:map(fun checked/2, maps:with(Keys, Opts)),
    case maps:get(outrider_compress, Opts, maps:get(compress, Opts, false)) of
        true -> Options#{compress => true, deflate_opts => deflate_opts(maps:get(deflate_opts, Opts, #{}))};
        _ -> Options
    end.

deflate_opts(Opts) ->
    Keys = [
        level, mem_level, strategy, server_context_takeover, client_context_takeover, server_max_window_bits,
        client_max_window_bits, history, max_idle
    ],
    maps:map(fun checked/2, maps:with(Keys, Opts)).

checked(Key, Value) ->
    case is_valid(Key, Value) of
        true -> Value;
        false -> error({bad_websocket_option, Key, Value})
    end.

is_valid(idle_timeout, V) -> V =:= infinity orelse is_within(0, V, 16#ffffffff);
is_valid(max_frame_size, V) -> V =:= infinity orelse is_within(0, V, 16#7fffffffffffffff);
is_valid(validate_utf8, V) -> is_boolean(V);
is_valid(drain, V) -> is_boolean(V);
is_valid(lazy, V) -> is_boolean(V);
is_valid(subscribe, V) -> is_list(V) andalso lists:all(fun outrider_broadcast:is_topic/1, V);
is_valid(max_backlog, V) -> is_within(1, V, 16#7fffffffffffffff);
is_valid(on_backlog, V) -> lists:member(V, [block, close, drop]);
is_valid(ping_interval, V) -> V =:= infinity orelse is_within(100, V, 16#ffffffff);
is_valid(pong_timeout, V) -> is_within(1, V, 16#ffffffff);
is_valid(level, V) -> lists:member(V, [none, default, best_speed, best_compression]) orelse is_within(0, V, 9);
is_valid(mem_level, V) -> is_within(1, V, 9);
is_valid(strategy, V) -> lists:member(V, [default, filtered, huffman_only, rle]);
is_valid(server_context_takeover, V) -> lists:member(V, [takeover, no_takeover]);
is_valid(client_context_takeover, V) -> lists:member(V, [takeover, no_takeover]);
is_valid(server_max_window_bits, V) -> is_within(8, V, 15);
is_valid(client_max_window_bits, V) -> is_within(8, V, 15);
is_valid(history, V) -> is_within(0, V, 32768);
is_valid(max_idle, V) -> is_within(0, V, 16#ffffffff).

is_within(Least, V, Most) -> is_integer(V) andalso V >= Least andalso V =< Most.

close_zlib(Extensions) ->
    _ = [ok = zlib:close(Stream) || {Key, Stream} <- maps:to_list(Extensions), Key =:= deflate orelse Key =:= inflate],
    ok.
