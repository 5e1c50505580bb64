%%% Tells a listener's stream handlers of a request that the sidecar has refused, by cowboy_stream:early_error/5.
%%%
%%% Comes in: the status with which the sidecar has answered, and what is known of the request. The answer is on its way; what
%%% the handlers make of it has no effect. Runs in a process of its own, which is what the connection process is in Cowboy:
%%% spawned by outrider_sidecar, which limits how many there are, and linked to the streams' parent, to end with it.
-module(outrider_refused).

-export([start/4]).

-spec start(ranch:ref(), pid(), 400..599, map()) -> ok.
start(Ref, Parent, Status, Known0) ->
    link(Parent),
    {Id, Known} = maps:take(streamid, maps:remove(limit, Known0)),
    Opts = outrider_registry:effective_options(Ref),
    Arguments = [Id, reason(Status), proxy_header(Known#{ref => Ref}), response(Status), Opts],
    try
        _ = apply(cowboy_stream, early_error, Arguments),
        ok
    catch
        Class:Reason:Stacktrace ->
            cowboy:log(cowboy_stream:make_error_log(early_error, Arguments, Class, Reason, Stacktrace), Opts)
    end.

proxy_header(Known = #{proxy_header := Header}) ->
    case ranch_proxy_header:parse(Header) of
        {ok, Info, <<>>} -> Known#{proxy_header := Info};
        _ -> maps:remove(proxy_header, Known)
    end;
proxy_header(Known) ->
    Known.

response(Status) ->
    {response, Status, #{<<"connection">> => <<"close">>, <<"content-length">> => <<"0">>}, <<>>}.

%% The sidecar tells the status alone, which is more than counters of attacks tend to look at.
reason(408) -> {connection_error, timeout, 'The request headers were not received before the timeout.'};
reason(414) -> {connection_error, limit_reached, 'The request line or its authority is longer than the options allow.'};
reason(431) -> {connection_error, limit_reached, 'There are more or longer headers than the options allow.'};
reason(501) -> {connection_error, no_error, 'The method is not implemented, or longer than the options allow.'};
reason(505) -> {connection_error, protocol_error, 'The version of HTTP is not supported.'};
reason(_) -> {connection_error, protocol_error, 'The request is malformed.'}.
