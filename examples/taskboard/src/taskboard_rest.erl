%% What the two REST handlers share: a body in, a representation out, and refusals with a reason.
-module(taskboard_rest).

-export([with_body/3, refuse/4, refuse/3]).
-export([etag/2]).

-define(MAX_BODY, 65536). % bytes

%% Reads a body of JSON and goes on with its value. To be called from a callback that accepts content.
-spec with_body(cowboy_req:req(), State, fun((taskboard_json:value(), cowboy_req:req()) -> Result)) ->
    Result | {stop, cowboy_req:req(), State}.
with_body(Req0, State, Continue) ->
    case cowboy_req:read_body(Req0, #{length => ?MAX_BODY}) of
        {ok, Body, Req} when byte_size(Body) =< ?MAX_BODY ->
            case taskboard_json:decode(Body) of
                {ok, Value} -> Continue(Value, Req);
                error -> refuse(<<"not JSON">>, Req, State)
            end;
        {_, _, Req} ->
            refuse(413, <<"too large">>, Req, State)
    end.

%% 400, and the reason for people.
-spec refuse(binary(), cowboy_req:req(), State) -> {stop, cowboy_req:req(), State}.
refuse(Reason, Req, State) ->
    refuse(400, Reason, Req, State).

-spec refuse(cowboy:http_status(), binary(), cowboy_req:req(), State) -> {stop, cowboy_req:req(), State}.
refuse(Status, Reason, Req, State) ->
    Body = taskboard_json:encode(#{error => Reason}),
    {stop, cowboy_req:reply(Status, #{<<"content-type">> => <<"application/json">>}, Body, Req), State}.

%% The entity tag of a version in the representation that has been negotiated: two representations are two entities.
-spec etag(integer(), cowboy_req:req()) -> binary().
etag(Version, #{media_type := {_, Subtype, _}}) ->
    <<$", (integer_to_binary(Version))/binary, $-, Subtype/binary, $">>.
