/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What runs in QEMU's machine while devtools/bench-migrate moves it: as the writer of
 * wherry-bench does (app/bench/blackout.c), it writes one word to pages everywhere, so many in a
 * second, and sleeps in between. A multiboot kernel of 32 bits; CYCLES: of the TSC, for a page.
 */
	.set	PIC_COMMAND, 0x20
	.set	PIC_DATA, 0x21
	.set	PIT_CHANNEL_0, 0x40
	.set	PIT_COMMAND, 0x43
	.set	TICK, 1193	/* of the 1.19 MHz: a millisecond */

	.section .text
	.code32
	.long	0x1badb002, 2, -(0x1badb002 + 2)	/* multiboot: tell how much memory there is */
written:
	.long	0		/* pages so far, at 0x10000c: the bench reads it */

	.globl	_start
_start:
	cli
	mov	$stack, %esp
	mov	8(%ebx), %ebp	/* KiB above the first MiB */
	shr	$2, %ebp
	sub	$256, %ebp	/* the MiB of this program is spared */
	lgdt	gdt_at
	ljmp	$8, $1f
1:	mov	$16, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	$tick, %eax	/* the vector of IRQ 0 is 32 */
	mov	%ax, idt + 32 * 8
	shr	$16, %eax
	mov	%ax, idt + 32 * 8 + 6
	lidt	idt_at
	mov	$0x11, %al
	out	%al, $PIC_COMMAND
	mov	$32, %al
	out	%al, $PIC_DATA
	mov	$4, %al
	out	%al, $PIC_DATA
	mov	$1, %al
	out	%al, $PIC_DATA
	mov	$0xfe, %al	/* IRQ 0 only */
	out	%al, $PIC_DATA
	mov	$0x34, %al
	out	%al, $PIT_COMMAND
	mov	$TICK & 255, %al
	out	%al, $PIT_CHANNEL_0
	mov	$TICK >> 8, %al
	out	%al, $PIT_CHANNEL_0
	mov	$88172645, %ebx
	rdtsc
	mov	%eax, %esi	/* edi:esi: when the next page is due */
	mov	%edx, %edi
sleep:
	sti
	hlt
write:
	rdtsc
	sub	%esi, %eax
	sbb	%edi, %edx
	jl	sleep
	mov	%ebx, %eax	/* xorshift */
	shl	$13, %eax
	xor	%eax, %ebx
	mov	%ebx, %eax
	shr	$17, %eax
	xor	%eax, %ebx
	mov	%ebx, %eax
	shl	$5, %eax
	xor	%eax, %ebx
	mov	%ebx, %eax
	xor	%edx, %edx
	div	%ebp
	shl	$12, %edx
	mov	%ebx, 0x200000(%edx)
	incl	written
	add	$CYCLES, %esi
	adc	$0, %edi
	jmp	write

tick:
	push	%eax
	mov	$0x20, %al
	out	%al, $PIC_COMMAND
	pop	%eax
	iret

	.balign	8
gdt:
	.quad	0, 0x00cf9a000000ffff, 0x00cf92000000ffff	/* flat code and data */
gdt_at:
	.word	. - gdt - 1
	.long	gdt
idt_at:
	.word	33 * 8 - 1
	.long	idt
	.balign	8
idt:
	.rept	33
	.word	0, 8, 0x8e00, 0	/* an interrupt gate to the code segment */
	.endr
	.balign	16
	.space	4096
stack:
