%%% The middleware that stands in for cowboy_handler: calls the handler's init/2, and sees to its WebSocket upgrade.
%%%
%%% Runs in the request process. The upgrade is Cowboy's own, so that every rule of its handshake holds; only
%%% permessage-deflate is hidden from it, for it would allocate two zlib contexts, and it is the sidecar that compresses.
%%% The user's wish travels on in the options under outrider_compress. The upgrade sends the switch_protocol message to
%%% the stream's process (outrider_stream), as that of a handler would that calls cowboy_websocket:upgrade/4,5 itself.
-module(outrider_handler).
-behaviour(cowboy_middleware).

-export([execute/2, in_place/1]).

-type result(Req, Env) :: {ok, Req, Env} | {suspend, module(), atom(), [any()]} | {stop, Req}.

%% The protocol options as the streams use them: with this middleware in the place of Cowboy's, which would call Cowboy's own
%% WebSocket loop.
-spec in_place(cowboy:opts()) -> cowboy:opts().
in_place(ProtoOpts) ->
    Middlewares = maps:get(middlewares, ProtoOpts, [cowboy_router, cowboy_handler]),
    ProtoOpts#{middlewares => lists:map(fun instead/1, Middlewares)}.

instead(cowboy_handler) -> ?MODULE;
instead(Middleware) -> Middleware.

-spec execute(Req, Env) -> result(Req, Env) when Req :: cowboy_req:req(), Env :: cowboy_middleware:env().
execute(Req, Env = #{handler := Handler, handler_opts := HandlerOpts}) ->
    try Handler:init(Req, HandlerOpts) of
        {ok, Req2, State} ->
            Result = cowboy_handler:terminate(normal, Req2, State, Handler),
            {ok, Req2, Env#{result => Result}};
        %% As Cowboy 2.13 and newer: HTTP/1.0 has no upgrade. Cowboy 2.12 answers 400.
        {cowboy_websocket, Req2 = #{version := 'HTTP/1.0'}, _State} ->
            {ok, cowboy_req:reply(501, Req2), Env};
        {cowboy_websocket, Req2 = #{version := 'HTTP/1.0'}, _State, _Opts} ->
            {ok, cowboy_req:reply(501, Req2), Env};
        {Module, Req2, State} ->
            Module:upgrade(shown(Module, Req2), Env, Handler, State);
        {cowboy_websocket, Req2, State, Opts} ->
            upgrade(shown(cowboy_websocket, Req2), Env, Handler, State, filter(Req2, Opts));
        {Module, Req2, State, Opts} ->
            Module:upgrade(shown(Module, Req2), Env, Handler, State, Opts)
    catch
        Class:Reason:Stacktrace ->
            _ = cowboy_handler:terminate({crash, Class, Reason}, Req, HandlerOpts, Handler),
            erlang:raise(Class, Reason, Stacktrace)
    end.

%% A WebSocket over HTTP/2 (RFC 8441). Where Cowboy's upgrade finds one, the request's process becomes it, and never comes back: so it
%% is shown the handshake of HTTP/1.1 that means the same, and the stream's process becomes the WebSocket, as ever. Modules that call
%% it themselves get what it is to be shown.
shown(Module, Req = #{version := 'HTTP/2', protocol := Protocol, headers := Headers}) when
    Module =/= cowboy_rest, Module =/= cowboy_loop
->
    case cowboy_bstr:to_lower(Protocol) of
        <<"websocket">> ->
            Own = #{<<"connection">> => <<"upgrade">>, <<"upgrade">> => <<"websocket">>, <<"sec-websocket-key">> => <<>>},
            Req#{version := 'HTTP/1.1', method := <<"GET">>, headers := maps:merge(Headers, Own)};
        _ ->
            Req
    end;
shown(_, Req) ->
    Req.

%% The filter gets the request as it is.
filter(Req = #{version := 'HTTP/2'}, Opts = #{req_filter := Filter}) -> Opts#{req_filter := fun(_) -> Filter(Req) end};
filter(_, Opts) -> Opts.

%% Cowboy's type of these options names its own keys only.
-dialyzer({no_fail_call, upgrade/5}).
-dialyzer({no_return, upgrade/5}).
upgrade(Req, Env, Handler, State, Opts = #{compress := Compress}) ->
    Hidden = Opts#{compress => false, outrider_compress => Compress},
    cowboy_websocket:upgrade(Req, Env, Handler, State, Hidden);
upgrade(Req, Env, Handler, State, Opts) ->
    cowboy_websocket:upgrade(Req, Env, Handler, State, Opts).
