// Failures as values people can read: a refusal by the server (RFC 9457 problem) or no answer at all.

export interface FieldFault {
  field: string;
  reason: string;
}

/** The body of a problem; every member may be missing when a proxy answered instead of the server. */
export interface ProblemBody {
  title?: string | null;
  status?: number | null;
  detail?: string | null;
  instance?: string | null;
  code?: string | null;
  errors?: FieldFault[] | null;
}

/** The server answered, and the answer was no. */
export class Refused extends Error {
  readonly status: number;
  readonly code: string;
  readonly requestId: string | null;
  readonly faults: FieldFault[];

  constructor(status: number, body: ProblemBody, requestId: string | null) {
    super(body.detail ?? body.title ?? `HTTP ${status}`);
    this.name = 'Refused';
    this.status = status;
    this.code = body.code ?? 'unknown';
    this.requestId = body.instance ?? requestId;
    this.faults = body.errors ?? [];
  }
}

/** No answer came: the server is down, or the network between is. */
export class Unreachable extends Error {
  constructor(cause: unknown) {
    super('unreachable', { cause });
    this.name = 'Unreachable';
  }
}

/** A problem body, whatever came over the wire. */
export function problemBody(value: unknown): ProblemBody {
  return typeof value === 'object' && value !== null ? (value as ProblemBody) : {};
}

export function isStatus(error: unknown, status: number): boolean {
  return error instanceof Refused && error.status === status;
}
