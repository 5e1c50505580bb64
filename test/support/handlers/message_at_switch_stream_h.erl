%% A stream handler that sends its own process, that of the connection, a message when the protocol is switched.
-module(message_at_switch_stream_h).
-behaviour(cowboy_stream).

-export([init/3, data/4, info/3, terminate/3, early_error/5]).

init(StreamId, Req, Opts) ->
    cowboy_stream:init(StreamId, Req, Opts).

data(StreamId, IsFin, Data, Next) ->
    cowboy_stream:data(StreamId, IsFin, Data, Next).

info(StreamId, Info, Next) ->
    is_tuple(Info) andalso element(1, Info) =:= switch_protocol andalso (self() ! sent_at_switch),
    cowboy_stream:info(StreamId, Info, Next).

terminate(StreamId, Reason, Next) ->
    cowboy_stream:terminate(StreamId, Reason, Next).

early_error(StreamId, Reason, PartialReq, Response, Opts) ->
    cowboy_stream:early_error(StreamId, Reason, PartialReq, Response, Opts).
